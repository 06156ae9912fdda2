//! `POST /v1/classify` against a real server with a real ONNX Runtime.

use std::time::Duration;

use crate::support::{PATIENCE, Server, model, picture, red};
use http::{Request, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Runs `test` against a server of `flags` and sees it end well.
macro_rules! with_server {
    ($flags:expr, |$server:ident| $test:block) => {
        let $server = Server::start($flags).await;
        $test
        $server.stop().await.unwrap();
    };
}

fn best(json: &Value) -> (u64, &str, f64) {
    let best = &json["predictions"][0];
    let (index, label) = (best["index"].as_u64().unwrap(), best["label"].as_str().unwrap());
    (index, label, best["score"].as_f64().unwrap())
}

fn scores(json: &Value) -> Vec<f64> {
    let predictions = json["predictions"].as_array().unwrap();
    predictions.iter().map(|one| one["score"].as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_gets_its_class() {
    with_server!(&[&model("tiny", "logits.onnx")], |server| {
        for (class, colour) in [(0, [255, 0, 0]), (1, [0, 255, 0]), (2, [0, 0, 255])] {
            let [red, green, blue] = colour;
            let reply = server.classify("", picture(red, green, blue)).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let json = reply.json();
            assert_eq!(best(&json).0, class);
            assert_eq!(best(&json).1, format!("class {class}"));
            assert_eq!((&json["model"], &json["version"]), (&"tiny".into(), &"1".into()));
            assert_eq!(json["weights"], "seeded");
            for stage in ["queue", "decode", "inference", "total"] {
                assert!(json["timings_ms"][stage].as_f64().unwrap() >= 0.0, "{json}");
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_probabilities_best_first() {
    // The same weights, once ending in logits and once in a softmax of the model's own.
    let flags = [&*model("logits", "logits.onnx"), &model("softmax", "softmax.onnx")];
    with_server!(&flags, |server| {
        let logits = server.classify("?model=logits&top=10", red()).await.json();
        let softmax = server.classify("?model=softmax&top=10", red()).await.json();
        for json in [&logits, &softmax] {
            let scores = scores(json);
            assert_eq!(scores.len(), 10);
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{scores:?}");
            assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        }
        assert!((best(&logits).2 - best(&softmax).2).abs() < 1e-4, "{logits} {softmax}");
        assert_eq!(
            (&logits["weights"], &softmax["weights"]),
            (&"seeded".into(), &"pretrained".into())
        );
        let top_5 = server.classify("", red()).await.json();
        assert_eq!(scores(&top_5).len(), 5);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_taken_too() {
    with_server!(&[&model("tiny", "labelled.onnx")], |server| {
        // Larger than the 2 MB that axum allows a form unless told otherwise.
        let note = "hello".repeat(600_000);
        let form = |field: &str| {
            let mut body = format!(
                "--line\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n{note}\r\n\
                 --line\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a.png\"\r\n\r\n"
            )
            .into_bytes();
            body.extend(picture(0, 0, 255));
            body.extend(b"\r\n--line--\r\n");
            let kind = "multipart/form-data; boundary=line";
            server.send(Request::post("/v1/classify").header(header::CONTENT_TYPE, kind), body)
        };
        let json = form("image").await.json();
        assert_eq!(best(&json).1, "blue", "{json}");
        assert_eq!(form("file").await.refusal(), (400, "bad_request".to_owned()));
        let unbound =
            Request::post("/v1/classify").header(header::CONTENT_TYPE, "multipart/form-data");
        assert_eq!(server.send(unbound, red()).await.refusal().0, 400);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_versions_are_chosen_by_name() {
    let (logits, softmax) = (model("a", "logits.onnx"), model("a", "softmax.onnx@2"));
    with_server!(&[&logits, &softmax, &*model("b", "single.onnx")], |server| {
        for (query, name, version) in [
            ("", "a", "1"),
            ("?model=a", "a", "1"),
            ("?model=a@2", "a", "2"),
            ("?model=b", "b", "1"),
        ] {
            let json = server.classify(query, red()).await.json();
            assert_eq!((&json["model"], &json["version"]), (&name.into(), &version.into()));
            assert_eq!(best(&json).0, 0);
        }
        for query in ["?model=c", "?model=b@2", "?model="] {
            let refused = server.classify(query, red()).await.refusal();
            assert_eq!(refused, (404, "model_not_found".to_owned()), "{query}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_kind() {
    let tiny = model("tiny", "logits.onnx");
    with_server!(&[&tiny, "--max-body=700000", "--max-pixels=100000"], |server| {
        let large = image::RgbImage::new(400, 300);
        let mut too_many_pixels = std::io::Cursor::new(Vec::new());
        large.write_to(&mut too_many_pixels, image::ImageFormat::Png).unwrap();
        let half = red()[..red().len() / 2].to_vec();
        let cases = [
            ("", b"hello".to_vec(), 415, "not_an_image"),
            ("", Vec::new(), 415, "not_an_image"),
            ("", half, 422, "truncated"),
            ("", too_many_pixels.into_inner(), 422, "too_many_pixels"),
            ("", vec![0; 700_001], 413, "body_too_large"),
            ("?top=0", red(), 400, "bad_request"),
            ("?top=many", red(), 400, "bad_request"),
        ];
        for (query, body, status, kind) in cases {
            let refused = server.classify(query, body).await.refusal();
            assert_eq!(refused, (status, kind.to_owned()));
        }
        let zipped = Request::post("/v1/classify").header(header::CONTENT_ENCODING, "gzip");
        let refused = server.send(zipped, red()).await.refusal();
        assert_eq!(refused, (415, "unsupported_encoding".to_owned()));
        let hasty = Request::post("/v1/classify").header("x-request-timeout-ms", "soon");
        assert_eq!(server.send(hasty, red()).await.refusal().0, 400);
        assert_eq!(server.get("/nowhere").await.refusal(), (404, "not_found".to_owned()));
        assert_eq!(server.get("/v1/classify").await.refusal().0, 405);
        assert_eq!(server.classify("", red()).await.status, 200, "still serving");
    });
}

/// Begins a request with a body of so many bytes that is refused for its query.
async fn begin_refused(server: &Server, length: usize) -> TcpStream {
    let mut client = TcpStream::connect(server.http()).await.unwrap();
    let head = format!(
        "POST /v1/classify?top=0 HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

async fn all_answers(mut client: TcpStream) -> String {
    let mut answers = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answers)).await.expect("open").unwrap();
    answers.to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_takes_no_other_one_with_it() {
    with_server!(&[&model("tiny", "logits.onnx")], |server| {
        let mut client = begin_refused(&server, 300_000).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.write_all(&vec![0; 100_000]).await.expect("it was cut off while it sent");
        }
        client
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let answers = all_answers(client).await;
        assert!(answers.starts_with("http/1.1 400"), "{answers}");
        assert!(answers.contains("http/1.1 200"), "the next request was lost: {answers}");

        let silent = begin_refused(&server, 300_000).await;
        let answer = all_answers(silent).await;
        assert!(answer.starts_with("http/1.1 400"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "a pool would keep it: {answer}");
    });
}
