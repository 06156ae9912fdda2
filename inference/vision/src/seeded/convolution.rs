//! A convolution as the product of its weights with the unrolled windows of its input.

use super::activation::{Activation, Shape};

/// The geometry of one convolution with square kernels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

/// Columns of the product that are computed together, so that they stay in the nearest cache.
const TILE: usize = 256;

impl Convolution {
    /// Padding keeps the size at stride 1.
    pub(super) fn padding(self) -> usize {
        self.kernel / 2
    }

    /// Inputs of one output value: the rows of the unrolled matrix.
    pub(super) fn fan_in(self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// `weights` is `[outputs][inputs, kernel, kernel]`.
    pub(super) fn apply(self, weights: &[f32], input: &Activation) -> Activation {
        let side = (input.shape.side - 1) / self.stride + 1;
        let shape = Shape { channels: self.outputs, side, ..input.shape };
        let values = if self.kernel == 1 && self.stride == 1 {
            product(weights, &input.values, self.fan_in(), shape)
        } else {
            product(weights, &self.unroll(input, side), self.fan_in(), shape)
        };
        Activation { shape, values }
    }

    /// `[inputs, kernel, kernel][batch, side, side]`: what each weight meets, zero in the padding.
    fn unroll(self, input: &Activation, side: usize) -> Vec<f32> {
        let mut unrolled = Vec::with_capacity(self.fan_in() * input.shape.batch * side * side);
        for channel in input.values.chunks_exact(input.shape.plane()) {
            for tap in 0..self.kernel * self.kernel {
                let (dy, dx) = (tap / self.kernel, tap % self.kernel);
                for picture in channel.chunks_exact(input.shape.side * input.shape.side) {
                    for y in 0..side {
                        let row = self.source(y, dy, input.shape.side);
                        unrolled.extend((0..side).map(|x| {
                            let column = self.source(x, dx, input.shape.side);
                            row.zip(column).map_or(0.0, |(y, x)| picture[y * input.shape.side + x])
                        }));
                    }
                }
            }
        }
        unrolled
    }

    /// The input row (or column) that tap `offset` of output `at` reads; none in the padding.
    fn source(self, at: usize, offset: usize, side: usize) -> Option<usize> {
        (at * self.stride + offset).checked_sub(self.padding()).filter(|&source| source < side)
    }
}

/// `weights [rows][depth]` times `columns [depth][plane]`; each sum runs over `depth` upwards.
fn product(weights: &[f32], columns: &[f32], depth: usize, shape: Shape) -> Vec<f32> {
    let plane = shape.plane();
    let mut result = vec![0.0; shape.channels * plane];
    for start in (0..plane).step_by(TILE) {
        let tile = start..(start + TILE).min(plane);
        for (row, weights) in weights.chunks_exact(depth).enumerate() {
            let sums = &mut result[row * plane..][tile.clone()];
            for (weight, column) in weights.iter().zip(columns.chunks_exact(plane)) {
                for (sum, value) in sums.iter_mut().zip(&column[tile.clone()]) {
                    *sum += weight * value;
                }
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one output value at a time.
    fn slow(conv: Convolution, weights: &[f32], input: &Activation, at: [usize; 4]) -> f32 {
        let [output, picture, y, x] = at;
        let side = input.shape.side;
        let mut sum = 0.0;
        for channel in 0..conv.inputs {
            for tap in 0..conv.kernel * conv.kernel {
                let (dy, dx) = (tap / conv.kernel, tap % conv.kernel);
                let (sy, sx) = (y * conv.stride + dy, x * conv.stride + dx);
                let inside = |at: usize| at >= conv.padding() && at < side + conv.padding();
                if inside(sy) && inside(sx) {
                    let pixel = (sy - conv.padding()) * side + sx - conv.padding();
                    let plane = (channel * input.shape.batch + picture) * side * side;
                    sum += weights
                        [output * conv.fan_in() + channel * conv.kernel * conv.kernel + tap]
                        * input.values[plane + pixel];
                }
            }
        }
        sum
    }

    #[test]
    fn equals_the_definition() {
        for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)] {
            let conv = Convolution { inputs: 2, outputs: 3, kernel, stride };
            let shape = Shape { channels: 2, batch: 2, side: 9 };
            let ramp = |count: usize| (0..count).map(|v| (v * v % 13) as f32 - 6.0).collect();
            let input = Activation { shape, values: ramp(2 * shape.plane()) };
            let weights: Vec<f32> = ramp(3 * conv.fan_in());
            let output = conv.apply(&weights, &input);
            let side = output.shape.side;
            for (at, &value) in output.values.iter().enumerate() {
                let [x, y] = [at % side, at / side % side];
                let [picture, channel] = [at / side / side % 2, at / side / side / 2];
                let expected = slow(conv, &weights, &input, [channel, picture, y, x]);
                assert!((value - expected).abs() < 1e-6, "{kernel} {stride} {at}");
            }
        }
    }
}
