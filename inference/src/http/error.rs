//! Errors as HTTP answers: `{"error": {"kind", "message"}}`, and for the open inference protocol,
//! which asks for a string, `{"error": "message", "kind"}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{engine::EngineError, error::ServeError, image::ImageError};

/// The status of an answer that says `error`.
pub(crate) fn status(error: &ServeError) -> StatusCode {
    match error {
        ServeError::NotReady(_) | ServeError::Busy | ServeError::Stopped => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ServeError::UnknownModel { .. } => StatusCode::NOT_FOUND,
        ServeError::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        ServeError::Late => StatusCode::GATEWAY_TIMEOUT,
        ServeError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ServeError::BodyBroken(_) | ServeError::Request(_) => StatusCode::BAD_REQUEST,
        ServeError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ServeError::Image(error) => image_status(error),
        ServeError::Engine(EngineError::OutOfMemory { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        ServeError::Engine(EngineError::Failed(_)) | ServeError::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn image_status(error: &ImageError) -> StatusCode {
    match error {
        ImageError::NotAnImage | ImageError::UnsupportedFormat(_) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        ImageError::Truncated
        | ImageError::Corrupt(_)
        | ImageError::TooManyPixels { .. }
        | ImageError::TooCostly(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// The answer of the service's own pages.
pub(super) fn v1(error: &ServeError) -> Response {
    let body = json!({"error": {"kind": error.kind(), "message": error.to_string()}});
    with_retry_after(error, (status(error), Json(body)).into_response())
}

/// The answer of the open inference protocol.
pub(super) fn v2(error: &ServeError) -> Response {
    let body = json!({"error": error.to_string(), "kind": error.kind()});
    with_retry_after(error, (status(error), Json(body)).into_response())
}

/// The answer to a request that belongs to no page.
pub(super) fn plain(status: StatusCode, message: &str) -> Response {
    let kind = if status == StatusCode::NOT_FOUND { "not_found" } else { "method_not_allowed" };
    (status, Json(json!({"error": {"kind": kind, "message": message}}))).into_response()
}

fn with_retry_after(error: &ServeError, mut response: Response) -> Response {
    if let Some(seconds) = error.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
