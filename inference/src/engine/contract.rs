//! What a file must look like to be served: one picture-like input, one score for each class as
//! output.

use std::fmt;

use crate::image;

/// Side of the square picture that the preprocessing makes.
pub(crate) const SIDE: usize = image::SIDE as usize;
/// Values of one picture's tensor.
pub(crate) const PICTURE_LEN: usize = image::Tensor::LEN;

/// A model's input and output, after the checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contract {
    /// Name of the input, `[N, 3, 224, 224]` of 32-bit floats.
    pub(crate) input: String,
    /// Name of the output, `[N, classes]` of 32-bit floats.
    pub(crate) output: String,
    /// How many classes there are.
    pub(crate) classes: usize,
    /// Whether the file takes one picture at a time only.
    pub(crate) single: bool,
}

/// An input or output as the file declares it.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) name: String,
    /// `None`: not a tensor of 32-bit floats.
    pub(super) float_shape: Option<Vec<i64>>,
    /// The type in ONNX Runtime's words.
    pub(super) described: String,
}

/// Why a file is not an image classifier that this service can serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Too many or no inputs or outputs.
    #[error("needs exactly one {side}, the model has {count}")]
    Count {
        /// `input` or `output`.
        side: &'static str,
        /// What it has.
        count: usize,
    },
    /// The input is not picture-like.
    #[error("input {0}: needs float32 [N or 1, 3, 224, 224]")]
    Input(String),
    /// The output is not a score for each class.
    #[error("output {0}: needs float32 [N or 1, classes]")]
    Output(String),
}

impl Contract {
    pub(super) fn of(inputs: &[Port], outputs: &[Port]) -> Result<Self, ContractError> {
        let (input, output) = (only("input", inputs)?, only("output", outputs)?);
        let batch = input.batch().ok_or_else(|| ContractError::Input(input.to_string()))?;
        let classes = output.classes().ok_or_else(|| ContractError::Output(output.to_string()))?;
        Ok(Self {
            input: input.name.clone(),
            output: output.name.clone(),
            classes,
            single: batch == 1,
        })
    }
}

impl Port {
    /// The first dimension, when the others are those of a picture; -1 is any size.
    fn batch(&self) -> Option<i64> {
        let is_side = |size: i64| size == -1 || size == SIDE as i64;
        match self.float_shape.as_deref()? {
            &[batch @ (-1 | 1), -1 | 3, height, width] if is_side(height) && is_side(width) => {
                Some(batch)
            }
            _ => None,
        }
    }

    fn classes(&self) -> Option<usize> {
        match self.float_shape.as_deref()? {
            &[-1 | 1, classes] => usize::try_from(classes).ok().filter(|&classes| classes > 0),
            _ => None,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}", self.name, self.described)
    }
}

fn only<'p>(side: &'static str, ports: &'p [Port]) -> Result<&'p Port, ContractError> {
    match ports {
        [port] => Ok(port),
        _ => Err(ContractError::Count { side, count: ports.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, shape: &[i64]) -> Port {
        let described = format!("{shape:?}");
        Port { name: name.to_owned(), float_shape: Some(shape.to_vec()), described }
    }

    fn of(input: &[i64], output: &[i64]) -> Result<Contract, ContractError> {
        Contract::of(&[port("data", input)], &[port("scores", output)])
    }

    #[test]
    fn classifiers_of_224_are_taken() {
        let dynamic = of(&[-1, 3, 224, 224], &[-1, 1000]).unwrap();
        assert_eq!((dynamic.classes, dynamic.single), (1000, false));
        assert!(!of(&[-1, -1, -1, -1], &[-1, 7]).unwrap().single);
        assert!(of(&[1, 3, 224, 224], &[1, 10]).unwrap().single);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for input in [&[-1, 3, 299, 299][..], &[-1, 1, 224, 224], &[8, 3, 224, 224], &[-1, 3, 224]]
        {
            assert!(matches!(of(input, &[-1, 10]), Err(ContractError::Input(_))), "{input:?}");
        }
        for output in [&[-1, 10, 7, 7][..], &[-1], &[-1, -1], &[-1, 0]] {
            let refused = of(&[-1, 3, 224, 224], output);
            assert!(matches!(refused, Err(ContractError::Output(_))), "{output:?}");
        }
        let half = Port { float_shape: None, ..port("data", &[]) };
        let refused = Contract::of(&[half], &[port("scores", &[-1, 10])]);
        assert!(matches!(refused, Err(ContractError::Input(_))));
        let two = [port("a", &[-1, 10]), port("b", &[-1, 10])];
        let refused = Contract::of(&[port("data", &[-1, 3, 224, 224])], &two);
        assert_eq!(refused, Err(ContractError::Count { side: "output", count: 2 }));
    }
}
