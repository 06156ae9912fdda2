//! Smooth noise: random knots on a coarse grid, and straight lines between them.

use super::random::Random;

/// A square of `side` x `side` values from knots that lie `side / cells` apart.
pub(super) fn smooth(random: &mut Random, side: usize, cells: usize) -> Vec<f32> {
    let width = cells + 1;
    let knots: Vec<f32> = (0..width * width).map(|_| random.normal()).collect();
    let place = |at: usize| at as f32 * cells as f32 / side as f32;
    let value = |at: usize| between(&knots, width, [place(at % side), place(at / side)]);
    (0..side * side).map(value).collect()
}

/// Noise at every scale: each octave has half the wavelength of the one before. Photographs are
/// like that, some rougher than others.
pub(super) fn octaves(random: &mut Random, side: usize) -> Vec<f32> {
    let roughness = 0.3 + 0.6 * random.uniform();
    let mut sum = vec![0.0; side * side];
    let (mut cells, mut strength) = (2, 1.0);
    while cells < side {
        for (value, more) in sum.iter_mut().zip(smooth(random, side, cells)) {
            *value += strength * more;
        }
        (cells, strength) = (cells * 2, strength * roughness);
    }
    sum
}

/// Bilinear interpolation in a square of knots.
fn between(knots: &[f32], width: usize, [x, y]: [f32; 2]) -> f32 {
    let (left, top) = (x as usize, y as usize);
    let (right_share, lower_share) = (x - left as f32, y - top as f32);
    let row = |y: usize| {
        let pair = &knots[y * width + left..][..2];
        pair[0] * (1.0 - right_share) + pair[1] * right_share
    };
    row(top) * (1.0 - lower_share) + row(top + 1) * lower_share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knots_are_met_and_joined() {
        let knots = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(between(&knots, 2, [0.0, 0.0]).to_bits(), 0.0_f32.to_bits());
        assert!((between(&knots, 2, [0.5, 0.25]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn neighbours_are_alike_and_squares_differ() {
        let values = smooth(&mut Random::new(3), 64, 4);
        let step = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).take(63);
        assert!(step.fold(0.0, f32::max) < 0.5);
        assert!(values.iter().any(|&v| (v - values[0]).abs() > 0.5));
    }
}
