//! What the front itself answers when it has no response to pass on: a status and `{"error":{"kind","message"}}`.
//! This is the only page that knows status codes.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use spotscale_decide::units::Millis;

use super::{replay::BodyError, retry::Denial, service::Turned, upstream::Failure};

/// Why a client gets no response of an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It was not let in.
    #[error("{}", .0.reason)]
    Turned(Turned),
    /// It was held until its deadline.
    #[error("no replica became free before the deadline")]
    HeldTooLong(Millis),
    /// The front stopped before it was its turn.
    #[error("this front is shutting down")]
    Stopped(Millis),
    /// It was sent, and its deadline passed before the response began.
    #[error("the replica did not answer before the deadline")]
    DeadlineExceeded,
    /// The client was too slow to send its body.
    #[error("the request body did not arrive before the deadline")]
    RequestTimeout,
    /// The endpoint failed, and it may not be sent again.
    #[error("the replica failed ({failure}) and the request was not sent again: {denial}")]
    Failed {
        /// What happened.
        failure: Failure,
        /// Why that is the end.
        denial: Denial,
    },
    /// A response whose end could not be told from a broken connection.
    #[error("the replica's response has no length, so a truncated one could not be told")]
    Unframed,
    /// The request body is at fault.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// `x-request-timeout-ms` is no number.
    #[error("x-request-timeout-ms is not a whole number of milliseconds")]
    BadTimeout,
    /// The URI is longer than any that is meant.
    #[error("the URI is too long")]
    UriTooLong,
    /// `CONNECT` is for another kind of proxy.
    #[error("CONNECT is not supported")]
    Connect,
}

impl Problem {
    /// As metric labels and error bodies spell it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Turned(turned) => turned.reason.kind(),
            Self::HeldTooLong(_) => "held_too_long",
            Self::Stopped(_) => "draining",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::RequestTimeout => "request_timeout",
            Self::Failed { .. } => "replica_failed",
            Self::Unframed => "unframed_response",
            Self::Body(BodyError::TooLarge) => "body_too_large",
            Self::Body(_) => "client_gone",
            Self::BadTimeout => "bad_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::Connect => "method_not_supported",
        }
    }

    /// The status; 499, which nobody receives any more, is nginx's for a client that has left.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Turned(_) | Self::HeldTooLong(_) | Self::Stopped(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Failed { .. } | Self::Unframed => StatusCode::BAD_GATEWAY,
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(_) => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::BadTimeout => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    const fn retry_after(&self) -> Option<Millis> {
        match self {
            Self::Turned(turned) => Some(turned.retry_after),
            Self::HeldTooLong(wait) | Self::Stopped(wait) => Some(*wait),
            _ => None,
        }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let error = serde_json::json!({ "kind": self.kind(), "message": self.to_string() });
        let body = serde_json::json!({ "error": error }).to_string();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.0.div_ceil(1000)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::admission::Reason;

    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_back_in_whole_seconds_rounded_up() {
        let turned = Turned { reason: Reason::QueueFull, retry_after: Millis(1_001) };
        let response = Problem::Turned(turned).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
