//! The plan of ResNet-50 v1, with the names and strides of Gluon's `resnet50_v1`, walked once from
//! the picture to the logits.

use std::fs::File;
use std::io;

use super::Progress;
use super::convolution::Convolution;
use super::layers::{Layers, Value};
use super::onnx::{Graph, ValueInfo};
use super::pictures;
use super::random::Random;

const INPUT: &str = "data";
const OUTPUT: &str = "resnetv17_dense0_fwd";
/// Side of the model's input in pixels.
const SIDE: usize = 224;
/// Calibration pictures and their side: enough for a mean and a deviation of every channel.
const BATCH: usize = 32;
const CALIBRATION_SIDE: usize = 64;
/// Deviation of what a block adds to its input. Small, as trained networks have it: a random
/// network of full strength is chaotic, and two encodings of one picture would get two answers.
const RESIDUAL_GAIN: f32 = 0.1;

/// Widths and depths of a residual network of bottlenecks.
pub(super) struct Architecture {
    pub(super) stem: usize,
    /// Blocks and inner channels of each stage; a stage puts out four times its inner channels.
    pub(super) stages: &'static [(usize, usize)],
    pub(super) classes: usize,
}

/// One bottleneck of a stage.
struct Block {
    name: String,
    inner: usize,
    stride: usize,
    first: bool,
}

impl Architecture {
    pub(super) const RESNET50: Self =
        Self { stem: 64, stages: &[(3, 64), (4, 128), (6, 256), (3, 512)], classes: 1000 };

    /// Writes the whole model to `file` and gives the file back.
    pub(super) fn write(
        &self,
        file: File,
        seed: u64,
        progress: impl FnMut(Progress),
    ) -> io::Result<File> {
        let random = Random::new(seed);
        let mut layers = Layers::new(file, seed, self.layers_total(), progress)?;
        let pictures = pictures::draw(&mut random.fork("pictures"), BATCH, CALIBRATION_SIDE);
        let features = self.features(&mut layers, &Value::new(INPUT, pictures))?;
        layers.classify(OUTPUT, &features, self.classes)?;
        layers.finish(Graph {
            name: "resnet50_v1".to_owned(),
            input: vec![ValueInfo::batch_of(INPUT, &[3, SIDE, SIDE])],
            output: vec![ValueInfo::batch_of(OUTPUT, &[self.classes])],
            ..Graph::default()
        })
    }

    /// The stem, three convolutions a block, one more on the way round each stage, the dense layer.
    fn layers_total(&self) -> usize {
        2 + self.stages.iter().map(|(blocks, _)| 3 * blocks + 1).sum::<usize>()
    }

    fn features<P: FnMut(Progress)>(
        &self,
        layers: &mut Layers<P>,
        pictures: &Value,
    ) -> io::Result<Value> {
        let stem = Convolution { inputs: 3, outputs: self.stem, kernel: 7, stride: 2 };
        let value = layers.convolve("conv0", pictures, stem, 1.0)?;
        let value = layers.relu("relu0", value);
        let mut value = layers.max_pool("pool0", &value);
        for (stage, &(blocks, inner)) in self.stages.iter().enumerate() {
            for at in 0..blocks {
                let name = format!("stage{}_block{at}", stage + 1);
                let first = at == 0;
                let stride = if first && stage > 0 { 2 } else { 1 };
                value = Block { name, inner, stride, first }.apply(layers, value)?;
            }
        }
        Ok(value)
    }
}

impl Block {
    /// Narrow, look around, widen, and add to what came in. Version 1 of the network takes its
    /// stride in the first of the three.
    fn apply<P: FnMut(Progress)>(self, layers: &mut Layers<P>, input: Value) -> io::Result<Value> {
        let inputs = input.activation.shape.channels;
        let (name, inner, outputs) = (&self.name, self.inner, 4 * self.inner);
        let narrow = Convolution { inputs, outputs: inner, kernel: 1, stride: self.stride };
        let around = Convolution { inputs: inner, outputs: inner, kernel: 3, stride: 1 };
        let widen = Convolution { inputs: inner, outputs, kernel: 1, stride: 1 };

        let value = layers.convolve(&format!("{name}_conv0"), &input, narrow, 1.0)?;
        let value = layers.relu(&format!("{name}_relu0"), value);
        let value = layers.convolve(&format!("{name}_conv1"), &value, around, 1.0)?;
        let value = layers.relu(&format!("{name}_relu1"), value);
        let value = layers.convolve(&format!("{name}_conv2"), &value, widen, RESIDUAL_GAIN)?;
        let shortcut = if self.first {
            let project = Convolution { outputs, ..narrow };
            layers.convolve(&format!("{name}_downsample"), &input, project, 1.0)?
        } else {
            input
        };
        let value = layers.add(&format!("{name}_add"), value, &shortcut);
        Ok(layers.relu(&format!("{name}_relu2"), value))
    }
}
