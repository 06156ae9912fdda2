//! From the bytes of a picture to the tensor that ResNet-50 reads.
//!
//! Decoding is bounded ([`Limits`]) and the geometry is torchvision's evaluation transform for the
//! V1 weights. Not here: threads, queues and HTTP codes; the caller runs this on a bounded pool.

mod decode;
mod error;
mod jpeg;
mod preprocess;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::ImageDecoder as _;

pub use decode::{BYTES_PER_PIXEL, Limits};
pub use error::ImageError;
pub use preprocess::{SIDE, Tensor};

/// Decodes `bytes` and turns the picture into a normalised tensor.
///
/// Blocks the calling thread for the time of one decode and one resize. EXIF orientation is
/// applied, an alpha channel is dropped, and of an animation only the first frame is read.
pub fn decode_to_tensor(bytes: &[u8], limits: &Limits) -> Result<Tensor, ImageError> {
    guarded(|| preprocess::to_tensor(decode::decode(bytes, limits)?))
}

/// The bytes of memory that decoding needs at most, by what the picture says of itself. Cheap: nothing is decoded.
pub fn decode_bytes_max(bytes: &[u8], limits: &Limits) -> Result<u64, ImageError> {
    guarded(|| {
        let (width, height) = decode::open(bytes, limits)?.dimensions();
        Ok(u64::from(width) * u64::from(height) * BYTES_PER_PIXEL)
    })
}

/// A decoder that trips over a hostile file must cost that request only, never the worker.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ImageError::Corrupt("the decoder gave up".to_owned())))
}
