//! Why a picture was refused. Codes of HTTP and gRPC are chosen at the edge, from [`ImageError::kind`].

use std::error::Error;
use std::io;

use ::image::error::{ImageError as DecoderError, LimitErrorKind};

/// A picture that cannot be turned into a tensor.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The first bytes are those of no known picture format.
    #[error("these bytes are not a picture")]
    NotAnImage,
    /// A picture, but of a format or a variant that is not served.
    #[error("unsupported picture format: {0}")]
    UnsupportedFormat(String),
    /// The data ends before the picture does.
    #[error("the picture is truncated")]
    Truncated,
    /// The data contradicts the format.
    #[error("the picture is corrupt: {0}")]
    Corrupt(String),
    /// The declared size is over the limit; nothing was decoded.
    #[error("the picture is {width} x {height} pixels, over the limit of {pixels_max}")]
    TooManyPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// The most pixels that are decoded.
        pixels_max: u64,
    },
    /// Decoding would take more memory or more passes than a sane picture needs.
    #[error("the picture is too costly to decode: {0}")]
    TooCostly(String),
}

impl ImageError {
    /// A stable name for metric labels and JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAnImage => "not_an_image",
            Self::UnsupportedFormat(_) => "unsupported_format",
            Self::Truncated => "truncated",
            Self::Corrupt(_) => "corrupt",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::TooCostly(_) => "too_costly",
        }
    }
}

impl From<DecoderError> for ImageError {
    fn from(error: DecoderError) -> Self {
        if ends_early(&error) {
            return Self::Truncated;
        }
        match &error {
            DecoderError::Unsupported(_) => Self::UnsupportedFormat(error.to_string()),
            DecoderError::Limits(limit) if limit.kind() != LimitErrorKind::DimensionError => {
                Self::TooCostly(error.to_string())
            }
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

/// Whether an unexpected end of the data is anywhere in the chain of causes.
fn ends_early(error: &DecoderError) -> bool {
    if let DecoderError::IoError(io) = error {
        return io.kind() == io::ErrorKind::UnexpectedEof;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::UnexpectedEof;
        }
        cause = inner.source();
    }
    false
}
