//! What a decode really holds, against the bytes a pixel that the service reckons with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "image/support.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use peak_alloc::PeakAlloc;
use spotscale_vision::image::{Limits, decode_bytes_max, decode_to_tensor};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 1000;
/// The tensor, the tile it is made of, and the decoder's tables, whatever the picture's size.
const FIXED_BYTES: usize = 2 << 20;

fn picture() -> DynamicImage {
    let mut random = fastrand::Rng::with_seed(1);
    RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| Rgba([x as u8, y as u8, random.u8(..), 255])).into()
}

/// The same picture in every format and depth that can be written here.
fn encodings() -> Vec<(&'static str, Vec<u8>)> {
    let picture = picture();
    let encode = |picture: DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let rgb = DynamicImage::from(picture.to_rgb8());
    vec![
        ("8-bit RGB PNG", encode(rgb.clone(), ImageFormat::Png)),
        ("16-bit RGBA PNG", encode(picture.to_rgba16().into(), ImageFormat::Png)),
        ("JPEG", encode(rgb.clone(), ImageFormat::Jpeg)),
        ("progressive JPEG", progressive()),
        ("WebP", encode(picture.clone(), ImageFormat::WebP)),
        ("GIF", encode(picture, ImageFormat::Gif)),
        ("BMP", encode(rgb, ImageFormat::Bmp)),
    ]
}

fn progressive() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progressive.jpg");
    support::run("progressive.py", &[&path]);
    std::fs::read(path).unwrap()
}

#[test]
fn no_decode_holds_more_than_is_reckoned() {
    for (name, bytes) in encodings() {
        let reckoned = decode_bytes_max(&bytes, &Limits::default()).unwrap() as usize;
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        decode_to_tensor(&bytes, &Limits::default()).unwrap();
        let held = HEAP.peak_usage() - before;
        let pixels = f64::from(WIDTH * HEIGHT);
        println!("{name}: {:.1} bytes a pixel", held as f64 / pixels);
        assert!(held <= reckoned + FIXED_BYTES, "{name}: {held} of {reckoned} bytes");
    }
}
