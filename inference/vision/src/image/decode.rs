//! Bytes to 8-bit RGB pixels, within limits that are checked before anything is allocated.

use std::io::Cursor;

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage, guess_format};

use super::error::ImageError;
use super::jpeg;

/// Most bytes that a decode holds at one time for each pixel: 16-bit RGBA beside its 8-bit RGB, or the coefficients of a
/// progressive JPEG beside its pixels, and a little for the decoder itself.
pub const BYTES_PER_PIXEL: u64 = 12;

/// What one picture may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most pixels (declared width times height). A decode holds up to [`BYTES_PER_PIXEL`] for each.
    pub pixels_max: u64,
    /// The most bytes that one decoder may allocate, where the decoder accounts for them.
    pub alloc_bytes_max: u64,
}

/// Pixels as stored, and how they are to be turned.
pub(super) struct Picture {
    pub(super) pixels: RgbImage,
    pub(super) orientation: Orientation,
}

impl Default for Limits {
    /// An 8K frame (7680 x 4320), and what its most generous decode takes.
    fn default() -> Self {
        Self { pixels_max: 7680 * 4320, alloc_bytes_max: 512 * 1024 * 1024 }
    }
}

impl Limits {
    fn check(&self, (width, height): (u32, u32)) -> Result<(), ImageError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(ImageError::Corrupt(format!("{width} x {height} pixels")));
        }
        if pixels > self.pixels_max {
            return Err(ImageError::TooManyPixels { width, height, pixels_max: self.pixels_max });
        }
        Ok(())
    }

    fn for_decoder(self) -> ::image::Limits {
        let mut limits = ::image::Limits::no_limits();
        limits.max_alloc = Some(self.alloc_bytes_max);
        limits
    }
}

/// Reads what the picture declares, and decodes nothing.
pub(super) fn open<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<impl ImageDecoder + 'a, ImageError> {
    let format = guess_format(bytes).map_err(|_| ImageError::NotAnImage)?;
    if !format.reading_enabled() {
        return Err(ImageError::UnsupportedFormat(format!("{format:?}")));
    }
    if format == ImageFormat::Jpeg {
        jpeg::check(bytes)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.for_decoder());
    let decoder = reader.into_decoder()?;
    limits.check(decoder.dimensions())?;
    Ok(decoder)
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
    let mut decoder = open(bytes, limits)?;
    // Pictures with broken metadata are common; their pixels are still good.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder)?.into_rgb8();
    Ok(Picture { pixels, orientation })
}
