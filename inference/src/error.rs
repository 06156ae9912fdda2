//! Why a request gets no answer. Says nothing of HTTP or gRPC: `http` and `grpc` give the codes.

use crate::{engine::EngineError, image::ImageError};

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("not ready: {0}")]
    NotReady(&'static str),
    #[error("as many requests as the server takes are being worked on")]
    Busy,
    #[error("no model {name}{}", .version.as_ref().map(|v| format!(" of version {v}")).unwrap_or_default())]
    UnknownModel { name: String, version: Option<String> },
    #[error("the queue is full")]
    QueueFull { retry_after_s: u64 },
    #[error("the deadline passed before there was an answer")]
    Late,
    #[error("the body is larger than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("the body broke off: {0}")]
    BodyBroken(String),
    #[error("the body's encoding {0} is not supported")]
    Encoding(String),
    #[error("{0}")]
    Request(String),
    #[error("{0}")]
    Image(#[from] ImageError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("the model has stopped")]
    Stopped,
    #[error("internal error")]
    Internal,
}

impl ServeError {
    /// A word for the answer's `kind` and for logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "not_ready",
            Self::Busy => "busy",
            Self::UnknownModel { .. } => "model_not_found",
            Self::QueueFull { .. } => "queue_full",
            Self::Late => "deadline_exceeded",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyBroken(_) => "body_broken",
            Self::Encoding(_) => "unsupported_encoding",
            Self::Request(_) => "bad_request",
            Self::Image(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Stopped => "model_stopped",
            Self::Internal => "internal",
        }
    }

    /// Seconds after which the same request may succeed; `None` when it will not.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after_s } => Some(*retry_after_s),
            Self::NotReady(_)
            | Self::Busy
            | Self::Stopped
            | Self::Engine(EngineError::OutOfMemory { .. }) => Some(1),
            _ => None,
        }
    }
}
