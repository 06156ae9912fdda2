//! The pictures on which the network is calibrated: clouds of noise at every scale, as photographs
//! have it, under shapes with hard edges, each picture with its own light and colours.

use super::activation::{Activation, Shape};
use super::noise::octaves;
use super::random::Random;

/// Black and white, after mean and deviation are taken out.
const RANGE: (f32, f32) = (-2.1, 2.6);
const PATCHES: usize = 12;

/// A rectangle or an ellipse of one colour, in parts of the picture's side.
struct Patch {
    centre: [f32; 2],
    radius: [f32; 2],
    colour: [f32; 3],
    round: bool,
}

/// `batch` pictures of `side` x `side` pixels, normalised as the network expects them.
pub(super) fn draw(random: &mut Random, batch: usize, side: usize) -> Activation {
    let shape = Shape { channels: 3, batch, side };
    let pictures: Vec<_> = (0..batch).map(|_| picture(random, side)).collect();
    let planes = (0..3).flat_map(|channel| pictures.iter().map(move |planes| &planes[channel]));
    Activation { shape, values: planes.flatten().copied().collect() }
}

/// One plane for each colour.
fn picture(random: &mut Random, side: usize) -> [Vec<f32>; 3] {
    let contrast = 0.1 + 1.4 * random.uniform();
    let light = octaves(random, side);
    let patches: Vec<_> = (0..PATCHES).map(|_| Patch::draw(random)).collect();
    std::array::from_fn(|channel| {
        let (tint, tones) = (0.6 * random.normal(), octaves(random, side));
        let shade = |at: usize| tint + contrast * (light[at] + 0.4 * tones[at]);
        let pixel = |at: usize| {
            let point = [at % side, at / side].map(|v| (v as f32 + 0.5) / side as f32);
            let patch = patches.iter().find(|patch| patch.covers(point));
            patch.map_or(0.0, |patch| patch.colour[channel]) + shade(at)
        };
        (0..side * side).map(|at| pixel(at).clamp(RANGE.0, RANGE.1)).collect()
    })
}

impl Patch {
    fn draw(random: &mut Random) -> Self {
        Self {
            centre: std::array::from_fn(|_| random.uniform()),
            radius: std::array::from_fn(|_| 0.02 + 0.3 * random.uniform()),
            colour: std::array::from_fn(|_| random.normal()),
            round: random.uniform() < 0.5,
        }
    }

    fn covers(&self, point: [f32; 2]) -> bool {
        let [x, y] = std::array::from_fn(|axis| {
            let distance = (point[axis] - self.centre[axis]) / self.radius[axis];
            distance * distance
        });
        if self.round { x + y < 1.0 } else { x < 1.0 && y < 1.0 }
    }
}
