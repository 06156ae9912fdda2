//! From the bytes of a picture to the tensor that ResNet-50 reads.
//!
//! Decoding is bounded ([`Limits`]) and the geometry is torchvision's evaluation transform for the
//! V1 weights. Not here: threads, queues and HTTP codes; the caller runs this on a bounded pool.

mod decode;
mod error;
mod jpeg;
mod preprocess;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use decode::Limits;
pub use error::ImageError;
pub use preprocess::{SIDE, Tensor};

/// Decodes `bytes` and turns the picture into a normalised tensor.
///
/// Blocks the calling thread for the time of one decode and one resize. EXIF orientation is
/// applied, an alpha channel is dropped, and of an animation only the first frame is read.
pub fn decode_to_tensor(bytes: &[u8], limits: &Limits) -> Result<Tensor, ImageError> {
    // A decoder that trips over a hostile file must cost that request only, never the worker.
    catch_unwind(AssertUnwindSafe(|| preprocess::to_tensor(decode::decode(bytes, limits)?)))
        .unwrap_or_else(|_| Err(ImageError::Corrupt("the decoder gave up".to_owned())))
}
