//! The console's routes on a real socket, fed by hand. What the page makes of them is
//! `tests/console.rs`.

use axum::{body::Bytes, http::HeaderMap};
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;

use super::*;
use crate::up::report::fixture;

struct Bench {
    url: String,
    views: watch::Sender<View>,
    shutdown: CancellationToken,
    http: Client<HttpConnector, Full<Bytes>>,
}

async fn bench() -> Bench {
    let (views, receiver) = watch::channel(fixture::replicas(0.0, 1).view);
    let shutdown = CancellationToken::new();
    let url = serve(router(receiver, shutdown.clone())).await;
    Bench { url, views, shutdown, http: Client::builder(TokioExecutor::new()).build_http() }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

impl Bench {
    async fn get(&self, path: &str) -> Response<Incoming> {
        self.http.get(format!("{}{path}", self.url).parse().unwrap()).await.unwrap()
    }

    async fn classify(&self, content_type: &str) -> Response<Incoming> {
        let request = Request::post(format!("{}/api/classify", self.url))
            .header(CONTENT_TYPE, content_type)
            .body(Full::from("a picture"))
            .unwrap();
        self.http.request(request).await.unwrap()
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn next_event(response: &mut Response<Incoming>) -> serde_json::Value {
    let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let line = std::str::from_utf8(&frame).unwrap();
    serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let console = bench().await;
    for (path, kind) in [("/", "html"), ("/console.css", "css"), ("/console.js", "javascript")] {
        let response = console.get(path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").contains(kind));
        assert!(header("content-security-policy").contains("default-src 'none'"));
        let text = text(response).await.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("//cdn") && !text.contains("src=\"http"), "{path}");
    }
}

#[tokio::test]
async fn a_change_reaches_the_page_as_an_event() {
    let console = bench().await;
    let mut events = console.get("/api/events").await;
    assert_eq!(next_event(&mut events).await["held"], 0);
    console.views.send_modify(|view| view.held = 7);
    assert_eq!(next_event(&mut events).await["held"], 7);
    let view: serde_json::Value =
        serde_json::from_str(&text(console.get("/api/view").await).await).unwrap();
    assert_eq!((&view["held"], &view["replicas"][0]["phase"]), (&7.into(), &"ready".into()));
    console.shutdown.cancel();
    assert!(events.body_mut().frame().await.is_none(), "the stream outlived the shutdown");
}

#[tokio::test]
async fn open_pages_are_bounded_and_a_closed_one_makes_room() {
    let console = bench().await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut events = console.get("/api/events").await;
        next_event(&mut events).await;
        open.push(events);
    }
    let refused = console.get("/api/events").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.clear();
    // The server learns of a closed page when it writes to it next.
    while console.get("/api/events").await.status() != StatusCode::OK {
        console.views.send_modify(|view| view.held += 1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_picture_goes_to_the_front_and_its_answer_comes_back() {
    let console = bench().await;
    let answer = async |kind: HeaderMap, body: Bytes| {
        let kind = kind[CONTENT_TYPE].to_str().unwrap().to_owned();
        let text = format!("{kind} {}", String::from_utf8_lossy(&body));
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3")], text)
    };
    let front = serve(Router::new().route("/v1/classify", post(answer))).await;
    let address = front.trim_start_matches("http://").parse().unwrap();
    console.views.send_modify(|view| view.addresses.front = address);
    let response = console.classify("image/png").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(text(response).await, "image/png a picture");
}

#[tokio::test]
async fn what_another_site_could_send_is_refused() {
    let console = bench().await;
    // The three types that a browser sends across origins without asking.
    for kind in ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"] {
        assert_eq!(console.classify(kind).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    // Port 1 of the fixture's front: nobody listens there.
    assert_eq!(console.classify("image/png").await.status(), StatusCode::BAD_GATEWAY);
}
