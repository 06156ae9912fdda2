//! `scripts/download.py` against a server that misbehaves: what it brings is whole and verified, or absent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    path::Path,
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::stream;

const SIZE: usize = 3_000_000;
const SHA256: &str = "e692ec654c9dd6a5a69a6260cd61ab627427c93a9376aca3f0a8e27c4f710406";

/// What the server was asked for: the `Range` header of each request.
type Ranges = Arc<Mutex<Vec<Option<String>>>>;

fn content() -> Bytes {
    (0..SIZE).map(|i| (i * 31 % 251) as u8).collect()
}

/// Serves the content at `/whole`, breaks it off half-way at `/broken`, and other bytes at `/wrong`. At `/long` it
/// announces a byte too many, at `/endless` it announces nothing and never ends.
async fn serve() -> (SocketAddr, Ranges) {
    let ranges = Ranges::default();
    let app = Router::new()
        .route("/whole", get(whole))
        .route("/broken", get(broken))
        .route("/wrong", get(|| async { vec![0_u8; SIZE] }))
        .route("/long", get(|| async { vec![0_u8; SIZE + 1] }))
        .route("/endless", get(endless))
        .with_state(ranges.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, ranges)
}

async fn whole(State(ranges): State<Ranges>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).map(|value| value.to_str().unwrap().to_owned());
    ranges.lock().unwrap().push(range.clone());
    match range {
        None => content().into_response(),
        Some(range) => {
            let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
            let rest = content().slice(from.parse::<usize>().unwrap()..);
            (StatusCode::PARTIAL_CONTENT, rest).into_response()
        }
    }
}

async fn broken() -> Response {
    let half = Ok(content().slice(..SIZE / 2));
    let body = Body::from_stream(stream::iter([half, Err(std::io::Error::other("gone"))]));
    ([(header::CONTENT_LENGTH, SIZE)], body).into_response()
}

async fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0; 1 << 16])))
}

async fn download(dest: &Path, urls: &[String]) -> Output {
    tokio::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/download.py"))
        .args(["--sha256", SHA256, "--size", &SIZE.to_string()])
        .arg(dest)
        .args(urls)
        .output()
        .await
        .unwrap()
}

fn assert_whole(dest: &Path) {
    assert_eq!(std::fs::read(dest).unwrap(), content());
    assert!(!dest.with_extension("part").exists());
}

#[tokio::test]
async fn a_broken_download_leaves_no_file_and_is_continued() {
    let (server, ranges) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("model");

    let first = download(&dest, &[format!("http://{server}/broken")]).await;
    assert!(!first.status.success());
    assert!(!dest.exists(), "a half-written file stands under the real name");

    let second = download(&dest, &[format!("http://{server}/whole")]).await;
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_whole(&dest);
    let asked = ranges.lock().unwrap().clone();
    assert!(matches!(asked.as_slice(), [Some(range)] if range != "bytes=0-"), "{asked:?}");
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_the_next_address_is_tried() {
    let (server, _) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("model");

    let wrong = download(&dest, &[format!("http://{server}/wrong")]).await;
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("wrong checksum"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");

    let urls = ["missing", "wrong", "whole"].map(|path| format!("http://{server}/{path}"));
    assert!(download(&dest, &urls).await.status.success());
    assert_whole(&dest);
}

#[tokio::test]
async fn a_file_that_is_too_long_is_refused_as_soon_as_that_shows() {
    let (server, _) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("model");
    for (path, complaint) in [
        ("long", "offers 3000001 bytes where 3000000 were expected"),
        ("endless", "sends more than the expected 3000000 bytes"),
    ] {
        let refused = download(&dest, &[format!("http://{server}/{path}")]).await;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains(complaint), "{path}: {why}");
        assert!(!dest.exists());
        let part = std::fs::metadata(dest.with_extension("part")).map_or(0, |part| part.len());
        assert!(part <= SIZE as u64, "{path} left {part} bytes");
    }
}
