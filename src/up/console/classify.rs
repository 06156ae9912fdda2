//! Hands a picture from the page to the front and the answer back, so that the page needs no leave
//! from another origin. Only an `image/*` body is taken: no other site can send one here unasked,
//! because browsers ask first for such types and are told nothing.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::Console;

const PICTURE_BYTES_MAX: usize = 20 << 20;
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longer than a cold start may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The way to the front.
#[derive(Clone)]
pub(super) struct Front {
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Front {
    pub(super) fn new() -> Self {
        Self { http: Client::builder(TokioExecutor::new()).build_http() }
    }
}

/// How large a picture may be.
pub(super) fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(PICTURE_BYTES_MAX)
}

/// Why there is no answer to hand back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClassifyError {
    #[error("send a picture, with its image/* content type")]
    NotAPicture,
    #[error("the front is not there")]
    NoFront,
    #[error("the front's answer broke off")]
    BrokenAnswer,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TooLate,
}

impl IntoResponse for ClassifyError {
    fn into_response(self) -> Response {
        let (status, kind) = match self {
            Self::NotAPicture => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture"),
            Self::NoFront => (StatusCode::BAD_GATEWAY, "no_front"),
            Self::BrokenAnswer => (StatusCode::BAD_GATEWAY, "broken_answer"),
            Self::TooLate => (StatusCode::GATEWAY_TIMEOUT, "too_late"),
        };
        let error = serde_json::json!({"error": {"kind": kind, "message": self.to_string()}});
        (status, axum::Json(error)).into_response()
    }
}

pub(super) async fn forward(
    State(console): State<Console>,
    headers: HeaderMap,
    picture: Bytes,
) -> Result<Response, ClassifyError> {
    let content_type = headers.get(header::CONTENT_TYPE).filter(|kind| is_image(kind));
    let content_type = content_type.ok_or(ClassifyError::NotAPicture)?;
    let front = console.views.borrow().addresses.front;
    let request = Request::post(format!("http://{front}/v1/classify"))
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::new(picture))
        .map_err(|_| ClassifyError::NotAPicture)?;
    let answer = exchange(&console.front, request);
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(ClassifyError::TooLate))
}

async fn exchange(front: &Front, request: Request<Full<Bytes>>) -> Result<Response, ClassifyError> {
    let answer = front.http.request(request).await.map_err(|_| ClassifyError::NoFront)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| ClassifyError::BrokenAnswer)?.to_bytes();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = head.status;
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

fn is_image(content_type: &HeaderValue) -> bool {
    content_type.to_str().is_ok_and(|kind| kind.starts_with("image/"))
}
