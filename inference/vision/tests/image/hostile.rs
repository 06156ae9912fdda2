//! Broken and hostile files: each gets an answer, and none costs a panic.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path::Path;

use spotscale_vision::image::{ImageError, Limits, Tensor, decode_to_tensor};

use crate::support;

/// Small pictures, so that thousands of damaged ones are decoded in seconds.
const LIMITS: Limits = Limits { pixels_max: 1_000_000, alloc_bytes_max: 64 << 20 };
const DAMAGED_PER_FILE: u64 = 150;

thread_local! {
    /// Panics of the decoders are caught and answered, so they are counted where they start.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

fn decode(bytes: &[u8]) -> Result<Tensor, ImageError> {
    decode_to_tensor(bytes, &LIMITS)
}

fn kind(bytes: &[u8]) -> &'static str {
    decode(bytes).map_or_else(|error| error.kind(), |_| "decoded")
}

/// Every encoding of a small picture, by name.
fn encodings() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let [pictures, out] = ["pictures", "out"].map(|name| folder.path().join(name));
    fs::create_dir(&pictures).unwrap();
    fs::create_dir(&out).unwrap();
    ::image::RgbImage::from_fn(61, 47, |x, y| {
        ::image::Rgb([(x * y) as u8, (x * 4) as u8, y as u8])
    })
    .save(pictures.join("small.png"))
    .unwrap();
    support::run("variants.py", &[&pictures, &out]);
    let read = |path: &Path| (path.display().to_string(), fs::read(path).unwrap());
    let mut files: Vec<_> =
        fs::read_dir(out).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    files.sort();
    files
}

/// One to eight bytes changed, or a piece cut out or doubled.
fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let start = random.usize(..bytes.len());
    let end = (start + random.usize(1..64)).min(bytes.len());
    match random.u8(..8) {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end)),
        2 => bytes.extend_from_within(start..end),
        _ => {
            for _ in 0..random.usize(1..=8) {
                let at = random.usize(..bytes.len());
                let edges = [0, 1, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1)];
                bytes[at] = *random.choice(&edges).unwrap();
            }
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        usual(panic);
    }));
    let (mut decoded, mut refused) = (0, 0);
    for (name, original) in encodings() {
        assert_eq!(kind(&original), "decoded", "{name}");
        for seed in 0..DAMAGED_PER_FILE {
            let mut bytes = original.clone();
            damage(&mut bytes, &mut fastrand::Rng::with_seed(seed));
            match decode(&bytes) {
                Ok(_) => decoded += 1,
                Err(_) => refused += 1,
            }
            assert_eq!(PANICS.get(), 0, "{name}, seed {seed}");
        }
    }
    // Damage that always kills, or never, would test one path only.
    assert!(decoded > 100 && refused > 100, "{decoded} decoded, {refused} refused");
}

#[test]
fn half_a_file_is_refused() {
    for (name, bytes) in encodings() {
        let error = kind(&bytes[..bytes.len() / 2]);
        assert!(["truncated", "corrupt"].contains(&error), "{name}: {error}");
    }
}

#[test]
fn what_is_no_picture_is_told_apart() {
    for bytes in [&b""[..], b"\0", b"hello", b"%PDF-1.7", &[0; 4096]] {
        assert_eq!(kind(bytes), "not_an_image", "{bytes:?}");
    }
    let tiff = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
    assert_eq!(kind(tiff), "unsupported_format");
    assert_eq!(kind(b"\xff\xd8\xff"), "truncated");
    assert_eq!(kind(b"\x89PNG\r\n\x1a\n"), "truncated");
}

/// A header alone must be enough to refuse, whatever the size that it declares.
#[test]
fn a_declared_size_is_refused_before_anything_is_allocated() {
    let encodings = encodings();
    let find =
        |end: &str| encodings.iter().find(|(name, _)| name.ends_with(end)).unwrap().1.clone();
    let mut png = find("interlaced.png");
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut gif = find(".gif");
    gif[6..10].fill(0xff);
    let mut bmp = find(".bmp");
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
    let mut jpeg = find("small.444.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    for (name, bytes) in [("png", png), ("gif", gif), ("bmp", bmp), ("jpeg", jpeg)] {
        assert_eq!(kind(&bytes), "too_many_pixels", "{name}");
    }
}

/// As PNG wants it (ISO 3309), one bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
