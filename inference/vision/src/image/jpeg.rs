//! A walk over the markers of a JPEG file, for what the decoder forgives but a service must not:
//! a missing end, and scans without number. It looks at no pixel.

use super::error::ImageError;

/// The usual progressive script has 10 scans; each costs a pass over every block of the picture,
/// however few bytes it takes in the file.
const SCANS_MAX: usize = 100;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const TEM: u8 = 0x01;

/// Refuses a file that ends before its end-of-image marker, or asks for too many passes.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let mut scans = 0;
    let mut rest = bytes;
    loop {
        let (marker, after) = next_marker(rest).ok_or(ImageError::Truncated)?;
        rest = match marker {
            EOI => return Ok(()),
            SOI | TEM => after,
            _ => skip_segment(after).ok_or(ImageError::Truncated)?,
        };
        scans += usize::from(marker == SOS);
        if scans > SCANS_MAX {
            return Err(ImageError::TooCostly(format!("more than {SCANS_MAX} scans")));
        }
    }
}

/// The next marker that is neither stuffing, nor padding, nor a restart, and what follows it.
fn next_marker(mut rest: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let at = rest.iter().position(|&byte| byte == 0xff)?;
        rest = &rest[at + 1..];
        match *rest.first()? {
            0x00 | 0xd0..=0xd7 => rest = &rest[1..],
            0xff => {}
            marker => return Some((marker, &rest[1..])),
        }
    }
}

/// What follows a segment whose first two bytes are its own length.
fn skip_segment(rest: &[u8]) -> Option<&[u8]> {
    let (length, _) = rest.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 8] = [0xff, SOI, 0xff, 0xe0, 0, 4, 0xff, EOI];
    const SCAN: [u8; 9] = [0xff, SOS, 0, 2, 0x12, 0xff, 0x00, 0xff, 0xd0];

    fn file(scans: usize, end: &[u8]) -> Vec<u8> {
        [&HEADER[..], &SCAN.repeat(scans), end].concat()
    }

    #[test]
    fn a_whole_file_passes_with_anything_behind_its_end() {
        assert!(check(&file(SCANS_MAX, &[0xff, EOI, 0xff, SOS, 7])).is_ok());
    }

    #[test]
    fn an_end_inside_a_segment_does_not_count() {
        assert_eq!(check(&file(1, &[])).unwrap_err().kind(), "truncated");
        assert_eq!(check(&HEADER).unwrap_err().kind(), "truncated");
    }

    #[test]
    fn a_scan_too_many_is_refused() {
        let error = check(&file(SCANS_MAX + 1, &[0xff, EOI])).unwrap_err();
        assert_eq!(error.kind(), "too_costly");
    }

    #[test]
    fn a_length_that_points_nowhere_is_truncation() {
        for tail in [&[0xff, 0xe1][..], &[0xff, 0xe1, 0xff], &[0xff, 0xe1, 0xff, 0xff]] {
            assert_eq!(check(&file(0, tail)).unwrap_err().kind(), "truncated");
        }
    }
}
