//! The values between two layers for a whole batch, and the layers without weights.
//!
//! Every sum runs in one fixed order and nothing is fused, so results do not depend on the machine.

/// `[channels][batch, height, width]`: channels outermost, so that a convolution is one product of
/// matrices over all pictures of the batch.
#[derive(Clone)]
pub(super) struct Activation {
    pub(super) shape: Shape,
    pub(super) values: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) channels: usize,
    pub(super) batch: usize,
    /// Height and width; the pictures are square.
    pub(super) side: usize,
}

/// Mean and standard deviation of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics {
    pub(super) mean: f32,
    pub(super) deviation: f32,
}

impl Shape {
    /// Values in one channel, over the whole batch.
    pub(super) fn plane(self) -> usize {
        self.batch * self.side * self.side
    }
}

impl Statistics {
    /// Accumulates in 64 bits: a long sum in 32 would lose the variance of a strong channel.
    pub(super) fn of(values: &[f32]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean));
        let deviation = (variance.sum::<f64>() / count).sqrt();
        Self { mean: mean as f32, deviation: deviation as f32 }
    }
}

impl Activation {
    pub(super) fn channels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.shape.plane())
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (value, more) in self.values.iter_mut().zip(&other.values) {
            *value += more;
        }
    }

    pub(super) fn relu(&mut self) {
        for value in &mut self.values {
            // Not `max`: which zero it returns for a negative zero differs between machines.
            *value = if *value > 0.0 { *value } else { 0.0 };
        }
    }

    /// The largest of each 3 x 3 window, in steps of 2, with one pixel of padding.
    pub(super) fn max_pool(&self) -> Self {
        let side = self.shape.side.div_ceil(2);
        let mut values = Vec::with_capacity(self.values.len() / 4);
        for picture in self.values.chunks_exact(self.shape.side * self.shape.side) {
            for y in 0..side {
                values.extend((0..side).map(|x| self.window_max(picture, y * 2, x * 2)));
            }
        }
        Self { shape: Shape { side, ..self.shape }, values }
    }

    fn window_max(&self, picture: &[f32], y: usize, x: usize) -> f32 {
        let side = self.shape.side;
        let near = |at: usize| at.saturating_sub(1)..(at + 2).min(side);
        near(y).flat_map(|y| near(x).map(move |x| picture[y * side + x])).fold(f32::MIN, f32::max)
    }

    /// The mean of each channel of each picture: a batch of 1 x 1 pictures.
    pub(super) fn global_average_pool(&self) -> Self {
        let pixels = self.shape.side * self.shape.side;
        let mean = |picture: &[f32]| picture.iter().sum::<f32>() / pixels as f32;
        let values = self.values.chunks_exact(pixels).map(mean).collect();
        Self { shape: Shape { side: 1, ..self.shape }, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Activation {
        let shape = Shape { channels: 1, batch: 1, side: 4 };
        Activation { shape, values: (0..16).map(|v| v as f32).collect() }
    }

    #[test]
    fn pooling_takes_the_largest_and_the_mean() {
        assert_eq!(ramp().max_pool().values, [5.0, 7.0, 13.0, 15.0]);
        assert_eq!(ramp().global_average_pool().values, [7.5]);
    }

    #[test]
    fn statistics_are_those_of_the_population() {
        let statistics = Statistics::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((statistics.mean, statistics.deviation), (5.0, 2.0));
    }
}
