//! The HTTP side with a model that the test plays: what happens while an inference runs.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::router;
use crate::{
    engine::EngineError,
    service::State,
    testing::{PATIENCE, Stage, infer_body},
};

type Answer = (u16, Option<String>, Value);

/// Status, `Retry-After` and body.
async fn read(response: Response) -> Answer {
    let status = response.status().as_u16();
    let header = response.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, header, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.0, answer.2["kind"].as_str().unwrap())
}

impl Stage {
    async fn send(&self, request: Request) -> Answer {
        let answer = router(Arc::clone(&self.service)).oneshot(request);
        let response = tokio::time::timeout(PATIENCE, answer).await.expect("no answer").unwrap();
        read(response).await
    }

    /// A picture on its way to the model, as a tensor: once it has room it is in the queue, with
    /// nothing to decode.
    fn post(&self, headers: &[(&str, &str)]) -> JoinHandle<Answer> {
        let (json_length, body) = infer_body();
        let mut request = Request::post("/v2/models/puppet/infer")
            .header("inference-header-content-length", json_length);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let router = router(Arc::clone(&self.service));
        tokio::spawn(async move { read(router.oneshot(request).await.unwrap()).await })
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = router(Arc::clone(&self.service)).oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn has_metric(&self, line: &str) -> bool {
        self.metrics().await.lines().any(|have| have == line)
    }
}

async fn answer(posted: JoinHandle<Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, posted).await.expect("no answer").unwrap()
}

#[tokio::test]
async fn pictures_that_wait_together_run_together() {
    let mut stage = Stage::set(&["--max-batch=4"]).await;
    let first = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    let others: Vec<_> = (0..3).map(|_| stage.post(&[])).collect();
    stage.queued(3).await;
    stage.strings.end(Ok(()));
    assert_eq!(stage.strings.started().await, 3);
    stage.strings.end(Ok(()));
    for posted in others.into_iter().chain([first]) {
        assert_eq!(answer(posted).await.0, 200);
    }
    let labels = "model=\"puppet\",version=\"1\"";
    let batches = format!("spotscale_inference_batch_size_count{{{labels}}} 2");
    assert!(stage.has_metric(&batches).await, "{}", stage.metrics().await);
    // A batch counts once, however many wait for it.
    let metrics = stage.metrics().await;
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap().trim().parse::<f64>().unwrap()
    };
    let busy = value(&format!("spotscale_inference_busy_seconds_total{{{labels}}}"));
    let waited = format!("spotscale_inference_stage_seconds_sum{{{labels},stage=\"inference\"}}");
    assert!(busy > 0.0 && busy < value(&waited), "{metrics}");
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let mut stage = Stage::set(&["--max-batch=1", "--queue=2"]).await;
    let mut posted = vec![stage.post(&[])];
    assert_eq!(stage.strings.started().await, 1);
    posted.extend([stage.post(&[]), stage.post(&[])]);
    stage.queued(2).await;
    let refused = answer(stage.post(&[])).await;
    assert_eq!(refusal(&refused), (429, "queue_full"));
    assert!(refused.1.unwrap().parse::<u64>().unwrap() >= 1);
    // Which of the two came first into the queue is not for the test to say.
    (0..posted.len()).for_each(|_| stage.strings.end(Ok(())));
    for one in posted {
        assert_eq!(answer(one).await.0, 200);
    }
    stage.queued(0).await;
}

#[tokio::test]
async fn nobody_is_inferred_for_who_has_left() {
    let mut stage = Stage::set(&["--max-batch=1"]).await;
    let first = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    let leaver = stage.post(&[]);
    stage.queued(1).await;
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    stage.strings.end(Ok(()));
    assert_eq!(answer(first).await.0, 200);
    stage.queued(0).await;
    assert!(stage.strings.is_still(), "an inference for nobody");
    let labels = "model=\"puppet\",version=\"1\"";
    for line in [
        format!("spotscale_inference_dropped_total{{{labels},reason=\"client_gone\"}} 1"),
        format!("spotscale_inference_requests_total{{{labels},protocol=\"v2\",code=\"499\"}} 1"),
        "spotscale_inference_in_flight 0".to_owned(),
    ] {
        assert!(stage.has_metric(&line).await, "no {line} in\n{}", stage.metrics().await);
    }
}

#[tokio::test]
async fn what_is_too_late_is_refused_and_not_inferred() {
    let mut stage = Stage::set(&["--max-batch=1"]).await;
    let first = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    let late = answer(stage.post(&[("x-request-timeout-ms", "30")])).await;
    assert_eq!(refusal(&late), (504, "deadline_exceeded"));
    stage.strings.end(Ok(()));
    assert_eq!(answer(first).await.0, 200);
    stage.queued(0).await;
    assert!(stage.strings.is_still(), "an inference that came too late");
}

#[tokio::test]
async fn one_request_too_many_is_refused_unread_and_probes_are_not() {
    let mut stage = Stage::set(&["--max-requests=1"]).await;
    let first = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    let refused = answer(stage.post(&[])).await;
    assert_eq!((refusal(&refused), refused.1.as_deref()), ((503, "busy"), Some("1")));
    assert_eq!(stage.get("/readyz").await.0, 200);
    stage.strings.end(Ok(()));
    assert_eq!(answer(first).await.0, 200);
}

#[tokio::test]
async fn a_batch_that_does_not_fit_runs_in_smaller_ones() {
    let mut stage = Stage::set(&["--max-batch=4"]).await;
    let first = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    let others: Vec<_> = (0..4).map(|_| stage.post(&[])).collect();
    stage.queued(4).await;
    stage.strings.end(Ok(()));
    assert_eq!(stage.strings.started().await, 4);
    stage.strings.end(Err(out_of_memory(4)));
    for _ in 0..2 {
        assert_eq!(stage.strings.started().await, 2);
        stage.strings.end(Ok(()));
    }
    for posted in others.into_iter().chain([first]) {
        assert_eq!(answer(posted).await.0, 200);
    }
    let labels = "model=\"puppet\",version=\"1\"";
    assert!(stage.has_metric(&format!("spotscale_inference_batch_limit{{{labels}}} 2")).await);
}

#[tokio::test]
async fn a_device_without_memory_for_one_picture_is_broken() {
    let mut stage = Stage::set(&[]).await;
    let posted = stage.post(&[]);
    assert_eq!(stage.strings.started().await, 1);
    stage.strings.end(Err(out_of_memory(1)));
    assert_eq!(refusal(&answer(posted).await), (503, "out_of_memory"));
    let end = tokio::time::timeout(PATIENCE, stage.end).await.expect("still runs").unwrap();
    assert_eq!(end.unwrap_err().kind(), "out_of_memory");
}

#[tokio::test]
async fn an_engine_that_keeps_failing_is_broken() {
    let mut stage = Stage::set(&[]).await;
    for _ in 0..3 {
        let posted = stage.post(&[]);
        assert_eq!(stage.strings.started().await, 1);
        stage.strings.end(Err(EngineError::Failed("device lost".to_owned())));
        assert_eq!(refusal(&answer(posted).await), (500, "inference_failed"));
    }
    let end = tokio::time::timeout(PATIENCE, &mut stage.end).await.expect("still runs").unwrap();
    assert_eq!(end.unwrap_err().kind(), "inference_failed");
    assert_eq!(refusal(&answer(stage.post(&[])).await), (503, "model_stopped"));
}

#[tokio::test]
async fn only_a_warm_server_takes_requests_and_only_a_ready_one_says_so() {
    let mut stage = Stage::set(&[]).await;
    let models = stage.service.models().unwrap();
    for (state, ready, classified) in [
        (State::Warming, 503, 503),
        (State::Ready(Arc::clone(&models)), 200, 200),
        (State::Draining(models), 503, 200),
        (State::Stopped, 503, 503),
    ] {
        stage.state.send_replace(state);
        assert_eq!(stage.get("/readyz").await.0, ready);
        assert_eq!(stage.get("/v2/health/ready").await.0, ready);
        assert_eq!(stage.get("/healthz").await.0, 200);
        let posted = stage.post(&[]);
        if classified == 200 {
            stage.strings.started().await;
            stage.strings.end(Ok(()));
        }
        assert_eq!(answer(posted).await.0, classified);
    }
}

fn out_of_memory(rows: usize) -> EngineError {
    EngineError::OutOfMemory { rows, message: "CUDA failure 2: out of memory".to_owned() }
}
