//! The geometry: sizes, margins, and that turning the small tile equals turning the whole picture.

use super::*;

const ALL: [Orientation; 8] = [
    Orientation::NoTransforms,
    Orientation::Rotate90,
    Orientation::Rotate180,
    Orientation::Rotate270,
    Orientation::FlipHorizontal,
    Orientation::FlipVertical,
    Orientation::Rotate90FlipH,
    Orientation::Rotate270FlipH,
];

/// A picture without any symmetry.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        ::image::Rgb([(x * 7 + y) as u8, (y * 5) as u8, ((x * x + 3 * y) / 16) as u8])
    })
}

#[test]
fn the_longer_side_is_rounded_down() {
    assert_eq!(resized_size((500, 375)), (341, 256));
    assert_eq!(resized_size((375, 500)), (256, 341));
    assert_eq!(resized_size((256, 256)), (256, 256));
    assert_eq!(resized_size((1, 40_000_000)), (256, u32::MAX));
}

#[test]
fn an_odd_pixel_goes_where_python_rounds() {
    let even = Margins::centre((341, 256));
    assert_eq!((even.left, even.right), (58, 59));
    let odd = Margins::centre((343, 256));
    assert_eq!((odd.left, odd.right), (60, 59));
    assert_eq!((odd.top, odd.bottom), (16, 16));
}

#[test]
fn turning_the_tile_equals_turning_the_picture() {
    for (width, height) in [(401, 300), (300, 401), (403, 300), (90, 121)] {
        for orientation in ALL {
            let pixels = picture(width, height);
            let late = upright(resize_centre(&pixels, orientation).unwrap(), orientation);
            let early = upright(pixels, orientation);
            let early = resize_centre(&early, Orientation::NoTransforms).unwrap();
            // The two passes of the filter change places and each rounds to 8 bits.
            let worst = late.iter().zip(early.iter()).map(|(&a, &b)| a.abs_diff(b)).max();
            assert!(worst <= Some(1), "{width} x {height}, {orientation:?}: {worst:?}");
        }
    }
}

#[test]
fn the_thinnest_pictures_are_resized() {
    for (width, height) in [(1, 1), (1, 65_535), (65_535, 1), (1, 20_000_000)] {
        let tile = resize_centre(&RgbImage::new(width, height), Orientation::NoTransforms);
        assert_eq!(tile.unwrap().dimensions(), (SIDE, SIDE), "{width} x {height}");
    }
}

#[test]
fn values_are_normalised_in_planes() {
    let picture = RgbImage::from_pixel(300, 300, ::image::Rgb([255, 0, 128]));
    let tensor =
        to_tensor(Picture { pixels: picture, orientation: Orientation::NoTransforms }).unwrap();
    assert_eq!(tensor.as_slice().len(), Tensor::LEN);
    let plane = Tensor::LEN / 3;
    for (channel, value) in [255.0_f32, 0.0, 128.0].into_iter().enumerate() {
        let expected = (value / 255.0 - MEAN[channel]) / DEVIATION[channel];
        let values = &tensor.as_slice()[channel * plane..][..plane];
        assert!(values.iter().all(|&v| (v - expected).abs() < 1e-6), "channel {channel}");
    }
}
