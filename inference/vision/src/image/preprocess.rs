//! torchvision's evaluation transform for the ResNet-50 V1 weights: shorter side to 256 (bilinear
//! with antialias), centre 224 x 224, mean and deviation of the training set, channels first.
//!
//! Only the part that the crop keeps is resized, and only the small result is turned upright.

use ::image::metadata::Orientation;
use ::image::{DynamicImage, RgbImage};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::decode::Picture;
use super::error::ImageError;

/// Width and height of the model's input, in pixels.
pub const SIDE: u32 = 224;
/// The shorter side of the picture before the crop, in pixels.
const SHORTER: u32 = 256;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// Every value a channel can take, normalised: a look-up is exact and cheaper than two divisions.
static NORMALISED: [[f32; 256]; 3] = normalised();

/// One picture as the model reads it: `[3, 224, 224]`, row-major, red plane first, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor(Vec<f32>);

/// Pixels cut away on each side of the resized picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Margins {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Tensor {
    /// Channels, height, width.
    pub const SHAPE: [usize; 3] = [3, SIDE as usize, SIDE as usize];
    /// The number of values.
    pub const LEN: usize = Self::SHAPE[0] * Self::SHAPE[1] * Self::SHAPE[2];

    /// The values in order; always [`Tensor::LEN`] of them.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The values in order, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.0
    }

    fn normalise(pixels: &[u8]) -> Self {
        let mut values = Vec::with_capacity(Self::LEN);
        for (channel, table) in NORMALISED.iter().enumerate() {
            values.extend(pixels.iter().skip(channel).step_by(3).map(|&v| table[usize::from(v)]));
        }
        Self(values)
    }
}

impl Margins {
    /// The margins of the centre crop; an odd pixel goes to the side that Python's `round` picks.
    fn centre((width, height): (u32, u32)) -> Self {
        let before = |side: u32| (f64::from(side - SIDE) / 2.0).round_ties_even() as u32;
        let (left, top) = (before(width), before(height));
        Self { left, top, right: width - SIDE - left, bottom: height - SIDE - top }
    }

    /// Left and top margin of the same crop in the picture as stored, before it is turned.
    fn stored(self, orientation: Orientation) -> (u32, u32) {
        match orientation {
            Orientation::NoTransforms => (self.left, self.top),
            Orientation::FlipHorizontal => (self.right, self.top),
            Orientation::FlipVertical => (self.left, self.bottom),
            Orientation::Rotate180 => (self.right, self.bottom),
            Orientation::Rotate90 => (self.top, self.right),
            Orientation::Rotate270 => (self.bottom, self.left),
            Orientation::Rotate90FlipH => (self.top, self.left),
            Orientation::Rotate270FlipH => (self.bottom, self.right),
        }
    }
}

pub(super) fn to_tensor(picture: Picture) -> Result<Tensor, ImageError> {
    let Picture { pixels, orientation } = picture;
    let tile = upright(resize_centre(&pixels, orientation)?, orientation);
    Ok(Tensor::normalise(tile.as_raw()))
}

/// The centre crop of the resized picture, still lying as stored.
fn resize_centre(pixels: &RgbImage, orientation: Orientation) -> Result<RgbImage, ImageError> {
    let (width, height) = pixels.dimensions();
    let resized = resized_size((width, height));
    let margins = Margins::centre(turned(resized, orientation));
    let (left, top) = margins.stored(orientation);
    let x = f64::from(width) / f64::from(resized.0);
    let y = f64::from(height) / f64::from(resized.1);
    let side = f64::from(SIDE);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(f64::from(left) * x, f64::from(top) * y, side * x, side * y);

    // Typed: the resizer for any pixel type is forty times the code, and compiles in minutes.
    let mut tile = RgbImage::new(SIDE, SIDE);
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, pixels.as_raw());
    let target = TypedImage::<U8x3>::from_buffer(SIDE, SIDE, &mut tile);
    let (Ok(source), Ok(mut target)) = (source, target) else {
        return Err(ImageError::Corrupt("fewer pixels than declared".to_owned()));
    };
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| ImageError::Corrupt(error.to_string()))?;
    Ok(tile)
}

fn upright(tile: RgbImage, orientation: Orientation) -> RgbImage {
    let mut tile = DynamicImage::ImageRgb8(tile);
    tile.apply_orientation(orientation);
    tile.into_rgb8()
}

/// The size that torchvision's `Resize(256)` gives: the longer side is rounded down.
fn resized_size((width, height): (u32, u32)) -> (u32, u32) {
    let longer = |long: u32, short: u32| {
        (u64::from(SHORTER) * u64::from(long) / u64::from(short)).min(u64::from(u32::MAX)) as u32
    };
    if width <= height {
        (SHORTER, longer(height, width))
    } else {
        (longer(width, height), SHORTER)
    }
}

fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

const fn normalised() -> [[f32; 256]; 3] {
    let mut tables = [[0.0; 256]; 3];
    let mut channel = 0;
    while channel < 3 {
        let mut value = 0;
        while value < 256 {
            tables[channel][value] = (value as f32 / 255.0 - MEAN[channel]) / DEVIATION[channel];
            value += 1;
        }
        channel += 1;
    }
    tables
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
