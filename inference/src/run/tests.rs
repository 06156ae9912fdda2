//! The life of the service with a model that the test plays: drain, break, fail to warm.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};

use super::*;
use crate::{
    engine::EngineError,
    testing::{PATIENCE, Strings, config, infer_body, puppet},
};

const QUEUED_ONE: &str = "spotscale_inference_queue_depth{model=\"puppet\",version=\"1\"} 1\n";

struct Running {
    address: std::net::SocketAddr,
    strings: Strings,
    shutdown: CancellationToken,
    ended: oneshot::Receiver<Result<(), Error>>,
}

impl Running {
    async fn start(flags: &[&str]) -> Self {
        let config = Arc::new(config(flags));
        let (opened, strings) = puppet(&config);
        let shutdown = CancellationToken::new();
        let (bound, address) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let told = shutdown.clone();
        // On a runtime of its own, which ends with it as the process does: what is not answered by
        // then is lost.
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(async {
                let listeners = config.bind().await.unwrap();
                bound.send(listeners.addresses().unwrap().http).unwrap();
                serve_models(config, vec![opened], listeners, told).await
            });
            runtime.shutdown_background();
            ending.send(outcome).unwrap();
        });
        let address = address.await.unwrap();
        let mut running = Self { address, strings, shutdown, ended };
        assert_eq!(running.strings.started().await, 1, "one picture to warm up");
        running.until("/readyz", "ok").await;
        running
    }

    /// Sends one picture as a tensor, on a connection of its own.
    async fn ask(&self) -> TcpStream {
        let (json_length, body) = infer_body();
        let head = format!(
            "POST /v2/models/puppet/infer HTTP/1.1\r\nhost: test\r\n\
             inference-header-content-length: {json_length}\r\ncontent-length: {}\r\n\r\n",
            body.len(),
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream
    }

    async fn until(&self, path: &str, says: &str) {
        let wait = async {
            while !self.get(path).await.contains(says) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the page never said so");
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        answer(stream).await
    }

    async fn ended(self) -> Result<(), Error> {
        timeout(PATIENCE, self.ended).await.expect("never ended").unwrap()
    }
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("no answer").unwrap();
    text
}

#[tokio::test]
async fn running_and_queued_requests_finish_before_the_end() {
    let mut running = Running::start(&["--max-batch=1"]).await;
    let first = running.ask().await;
    assert_eq!(running.strings.started().await, 1);
    let second = running.ask().await;
    running.until("/metrics", QUEUED_ONE).await;
    running.shutdown.cancel();
    running.strings.end(Ok(()));
    assert_eq!(running.strings.started().await, 1);
    running.strings.end(Ok(()));
    running.ended().await.unwrap();
    for stream in [first, second] {
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_place_while_the_model_is_busy() {
    let mut running = Running::start(&["--max-batch=1"]).await;
    let first = running.ask().await;
    assert_eq!(running.strings.started().await, 1);
    let leaver = running.ask().await;
    running.until("/metrics", QUEUED_ONE).await;
    drop(leaver);
    running.until("/metrics", "protocol=\"v2\",code=\"499\"} 1\n").await;
    running.strings.end(Ok(()));
    running.shutdown.cancel();
    assert!(answer(first).await.starts_with("HTTP/1.1 200"));
    assert!(running.strings.is_still(), "an inference for nobody");
    running.ended().await.unwrap();
}

#[tokio::test]
async fn an_inference_that_never_ends_does_not_hold_the_end_up() {
    let mut running = Running::start(&["--drain-timeout=50ms"]).await;
    let stuck = running.ask().await;
    assert_eq!(running.strings.started().await, 1);
    running.shutdown.cancel();
    let Running { ended, strings, .. } = running;
    let outcome = timeout(PATIENCE, ended).await.expect("never ended").unwrap();
    assert_eq!(outcome.unwrap_err().kind(), "drain");
    drop((stuck, strings));
}

#[tokio::test]
async fn a_broken_model_ends_the_service_so_that_it_is_restarted() {
    let mut running = Running::start(&[]).await;
    let asked = running.ask().await;
    assert_eq!(running.strings.started().await, 1);
    let message = "CUDA failure 2: out of memory".to_owned();
    running.strings.end(Err(EngineError::OutOfMemory { rows: 1, message }));
    assert!(answer(asked).await.starts_with("HTTP/1.1 503"));
    let error = running.ended().await.unwrap_err();
    assert_eq!(error.kind(), "broken");
    assert!(error.to_string().contains("puppet"), "{error}");
}

#[tokio::test]
async fn a_model_that_does_not_answer_once_is_not_served() {
    let config = Arc::new(config(&[]));
    let listeners = config.bind().await.unwrap();
    let (opened, strings) = puppet(&config);
    drop(strings);
    let run = serve_models(config, vec![opened], listeners, CancellationToken::new());
    let error = timeout(PATIENCE, run).await.expect("never ended").unwrap_err();
    assert!(error.to_string().contains("warm-up"), "{error}");
}
