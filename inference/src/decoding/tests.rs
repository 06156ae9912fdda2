//! Many large pictures at once, and memory for two.

use futures::FutureExt as _;
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::testing::{PATIENCE, config};

/// Side of a picture in pixels, and what decoding it may take.
const SIDE: u32 = 800;
const COST: u64 = SIDE as u64 * SIDE as u64 * image::BYTES_PER_PIXEL;
const PICTURES: usize = 12;

/// Cores for all pictures, memory for `pictures` of them.
fn decoding(pictures: u64) -> Arc<Decoding> {
    let memory = format!("--max-decode-memory={}", pictures * COST);
    Arc::new(Decoding::new(&config(&["--threads=16", &memory]), Gauge::default()))
}

fn picture() -> Bytes {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = ::image::RgbImage::from_fn(SIDE, SIDE, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
    pixels.write_to(&mut png, ::image::ImageFormat::Png).unwrap();
    png.into_inner().into()
}

#[tokio::test]
async fn what_does_not_fit_waits_and_nobody_is_passed_over() {
    let decoding = decoding(2);
    let first = decoding.reserve(COST).await.unwrap();
    let mut large = Box::pin(decoding.reserve(2 * COST));
    assert!((&mut large).now_or_never().is_none());
    assert!(decoding.reserve(1).now_or_never().is_none(), "a small one passed the large one over");
    assert_eq!(decoding.reserved.get(), COST as i64);
    drop(first);
    let large = timeout(PATIENCE, large).await.expect("never fits").unwrap();
    drop(large);
    assert_eq!(decoding.reserved.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_pictures_stay_within_the_memory_and_are_all_decoded() {
    let decoding = decoding(2);
    let all = decoding.reserve(2 * COST).await.unwrap();
    let picture = picture();
    let mut tensors = JoinSet::new();
    for _ in 0..PICTURES {
        let (decoding, picture) = (Arc::clone(&decoding), picture.clone());
        tensors.spawn(async move { decoding.tensor(picture).await });
    }
    let early = timeout(std::time::Duration::from_millis(300), tensors.join_next()).await;
    assert!(early.is_err(), "decoded without memory");
    drop(all);
    let (mut decoded, mut most) = (0, 0);
    let work = async {
        while decoded < PICTURES {
            decoded +=
                tensors.try_join_next().map_or(0, |tensor| tensor.unwrap().map(|_| 1).unwrap());
            most = most.max(decoding.reserved.get());
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, work).await.expect("not all are decoded");
    assert!(most <= 2 * COST as i64, "{most} bytes at one time");
    assert_eq!(decoding.reserved.get(), 0);
}

#[tokio::test]
async fn a_picture_that_is_none_reserves_nothing() {
    let decoding = decoding(2);
    let refused = decoding.tensor(Bytes::from_static(b"hello")).await.unwrap_err();
    assert_eq!(refused.kind(), "not_an_image");
    assert_eq!(decoding.reserved.get(), 0);
}
