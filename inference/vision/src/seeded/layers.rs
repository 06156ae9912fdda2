//! The layers: each is drawn, run on the calibration pictures, scaled by what came out of it, and
//! written to the file.
//!
//! A trained network's batch normalisation, folded into its convolutions, leaves every channel with
//! a known mean and deviation. Here the same is measured and folded, so that signals neither die
//! nor explode through fifty layers.

use std::fs::File;
use std::io::{self, BufWriter};

use super::Progress;
use super::activation::{Activation, Statistics};
use super::convolution::Convolution;
use super::noise::smooth;
use super::onnx::{Attribute, Graph, Model, Node, OperatorSet, Property, Tensor};
use super::random::Random;
use super::writer::ModelWriter;

/// Deviation of the logits: the best of 1000 classes then gets some tenths of the probability.
const LOGIT_DEVIATION: f32 = 3.0;
/// A channel that hardly varies is left weak, not blown up.
const DEVIATION_MIN: f32 = 1e-3;

/// A value of the graph: its name, and what it is on the calibration pictures.
pub(super) struct Value {
    name: String,
    pub(super) activation: Activation,
}

/// The layers written so far.
pub(super) struct Layers<P> {
    model: ModelWriter<BufWriter<File>>,
    weights: Random,
    progress: P,
    position: Progress,
}

/// A layer with weights, ready to be written.
struct Layer<'a> {
    name: &'a str,
    input: &'a Value,
    shape: &'a [usize],
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl Value {
    pub(super) fn new(name: &str, activation: Activation) -> Self {
        Self { name: name.to_owned(), activation }
    }
}

impl<P: FnMut(Progress)> Layers<P> {
    pub(super) fn new(file: File, seed: u64, layers_total: usize, progress: P) -> io::Result<Self> {
        Ok(Self {
            model: ModelWriter::new(BufWriter::new(file), &header(seed))?,
            weights: Random::new(seed).fork("weights"),
            progress,
            position: Progress { layers_done: 0, layers_total },
        })
    }

    /// A convolution whose channels come out with mean 0 and deviation `gain`.
    pub(super) fn convolve(
        &mut self,
        name: &str,
        input: &Value,
        geometry: Convolution,
        gain: f32,
    ) -> io::Result<Value> {
        let mut weights = self.kernels(geometry);
        let mut activation = geometry.apply(&weights, &input.activation);
        let mut biases = Vec::with_capacity(geometry.outputs);
        let kernels = weights.chunks_exact_mut(geometry.fan_in());
        for (kernel, values) in kernels.zip(activation.channels_mut()) {
            let Statistics { mean, deviation } = Statistics::of(values);
            let factor = gain / deviation.max(DEVIATION_MIN);
            let bias = -mean * factor;
            scale(kernel, factor, 0.0);
            scale(values, factor, bias);
            biases.push(bias);
        }
        let Convolution { inputs, outputs, kernel, .. } = geometry;
        let shape = [outputs, inputs, kernel, kernel];
        let layer = Layer { name, input, shape: &shape, weights, biases };
        let attributes = vec![
            Attribute::ints("kernel_shape", &[kernel; 2]),
            Attribute::ints("strides", &[geometry.stride; 2]),
            Attribute::ints("pads", &[geometry.padding(); 4]),
        ];
        self.weighted("Conv", layer, attributes)?;
        Ok(Value::new(name, activation))
    }

    pub(super) fn relu(&mut self, name: &str, mut input: Value) -> Value {
        self.node("Relu", name, &[&input.name], Vec::new());
        input.activation.relu();
        Value::new(name, input.activation)
    }

    pub(super) fn add(&mut self, name: &str, mut left: Value, right: &Value) -> Value {
        self.node("Add", name, &[&left.name, &right.name], Vec::new());
        left.activation.add(&right.activation);
        Value::new(name, left.activation)
    }

    pub(super) fn max_pool(&mut self, name: &str, input: &Value) -> Value {
        let attributes = vec![
            Attribute::ints("kernel_shape", &[3; 2]),
            Attribute::ints("strides", &[2; 2]),
            Attribute::ints("pads", &[1; 4]),
        ];
        self.node("MaxPool", name, &[&input.name], attributes);
        Value::new(name, input.activation.max_pool())
    }

    /// Pools, and maps the features to logits that are centred over the calibration pictures:
    /// without that, what all pictures have in common would choose one class for all of them.
    pub(super) fn classify(&mut self, name: &str, input: &Value, classes: usize) -> io::Result<()> {
        self.node("GlobalAveragePool", "pool1", &[&input.name], Vec::new());
        self.node("Flatten", "flatten0", &["pool1"], Vec::new());
        let features = input.activation.global_average_pool();
        let inputs = features.shape.channels;
        let dense = Convolution { inputs, outputs: classes, kernel: 1, stride: 1 };
        let mut weights = self.draw(classes * inputs);
        let mut logits = dense.apply(&weights, &features);
        let means: Vec<_> =
            logits.channels_mut().map(|values| Statistics::of(values).mean).collect();
        for (values, mean) in logits.channels_mut().zip(&means) {
            scale(values, 1.0, -mean);
        }
        let factor = LOGIT_DEVIATION / Statistics::of(&logits.values).deviation.max(DEVIATION_MIN);
        scale(&mut weights, factor, 0.0);
        let biases = means.iter().map(|mean| -mean * factor).collect();
        let input = &Value::new("flatten0", features);
        let shape = [classes, inputs];
        let layer = Layer { name, input, shape: &shape, weights, biases };
        self.weighted("Gemm", layer, vec![Attribute::int("transB", 1)])
    }

    pub(super) fn finish(self, rest: Graph) -> io::Result<File> {
        Ok(self.model.finish(rest)?.into_inner()?)
    }

    /// The weights before they are scaled. Wide kernels are smooth, as trained ones are: an answer
    /// must not hang on the noise of single pixels.
    fn kernels(&mut self, geometry: Convolution) -> Vec<f32> {
        let Convolution { inputs, outputs, kernel, .. } = geometry;
        if kernel <= 3 {
            return self.draw(outputs * geometry.fan_in());
        }
        (0..inputs * outputs).flat_map(|_| smooth(&mut self.weights, kernel, 3)).collect()
    }

    fn draw(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.weights.normal()).collect()
    }

    /// Writes a layer's weights and biases, then its node; one step of progress.
    fn weighted(
        &mut self,
        op_type: &str,
        layer: Layer<'_>,
        attributes: Vec<Attribute>,
    ) -> io::Result<()> {
        let Layer { name, input, shape, weights, biases } = layer;
        let (weight, bias) = (format!("{name}_weight"), format!("{name}_bias"));
        self.model.tensor(Tensor::floats(&weight, shape, &weights))?;
        self.model.tensor(Tensor::floats(&bias, &[biases.len()], &biases))?;
        self.node(op_type, name, &[&input.name, &weight, &bias], attributes);
        self.position.layers_done += 1;
        (self.progress)(self.position);
        Ok(())
    }

    /// A node has the name of the one value that it puts out.
    fn node(&mut self, op_type: &str, name: &str, inputs: &[&str], attribute: Vec<Attribute>) {
        self.model.node(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
    }
}

fn scale(values: &mut [f32], factor: f32, offset: f32) {
    for value in values {
        *value = *value * factor + offset;
    }
}

fn header(seed: u64) -> Model {
    let property = |key: &str, value: String| Property { key: key.to_owned(), value };
    Model {
        ir_version: 7,
        producer_name: "spotscale".to_owned(),
        opset_import: vec![OperatorSet { domain: String::new(), version: 12 }],
        metadata_props: vec![
            property("weights", "seeded".to_owned()),
            property("seed", seed.to_string()),
        ],
    }
}
