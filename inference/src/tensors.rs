//! The open inference protocol's rules for tensors, the same over HTTP and gRPC.

use crate::{
    engine::{Contract, PICTURE_LEN, SIDE},
    error::ServeError,
};

/// The only datatype that is taken and given.
pub(crate) const FP32: &str = "FP32";
/// What models run in, in the protocol's words.
pub(crate) const PLATFORM: &str = "onnxruntime_onnx";
/// The extension that both sides of the service speak.
pub(crate) const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];
/// The server's name in its metadata.
pub(crate) const SERVER: &str = "spotscale";

/// Shape of the model's input; -1 is any number of pictures.
pub(crate) fn input_shape(contract: &Contract) -> [i64; 4] {
    [if contract.single { 1 } else { -1 }, 3, SIDE as i64, SIDE as i64]
}

/// Shape of the model's output, for any number of pictures or for `rows`.
pub(crate) fn output_shape(contract: &Contract, rows: Option<usize>) -> [i64; 2] {
    let batch = rows.map_or(input_shape(contract)[0], |rows| rows as i64);
    [batch, contract.classes as i64]
}

/// A tensor's head, as the client sends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'r> {
    pub(crate) name: &'r str,
    pub(crate) datatype: &'r str,
    pub(crate) shape: &'r [i64],
}

/// How many pictures the one input holds.
pub(crate) fn rows(contract: &Contract, inputs: &[Head<'_>]) -> Result<usize, ServeError> {
    let [input] = inputs else {
        return refuse(format!("the model has one input, the request {}", inputs.len()));
    };
    if input.name != contract.input {
        return refuse(format!("the model's input is `{}`, not `{}`", contract.input, input.name));
    }
    if input.datatype != FP32 {
        return refuse(format!("input `{}` is {FP32}, not {}", input.name, input.datatype));
    }
    let [_, picture @ ..] = input_shape(contract);
    match input.shape {
        [rows, rest @ ..] if *rest == picture => {
            usize::try_from(*rows).or_else(|_| refuse(format!("{rows} pictures")))
        }
        _ => refuse(format!("input `{}` is [N,3,224,224], not {:?}", input.name, input.shape)),
    }
}

/// Whether the outputs asked for are those of the model; asking for none asks for all.
pub(crate) fn check_outputs<'r>(
    contract: &Contract,
    mut names: impl Iterator<Item = &'r str>,
) -> Result<(), ServeError> {
    match names.find(|name| *name != contract.output) {
        None => Ok(()),
        Some(name) => refuse(format!("the model's output is `{}`, not `{name}`", contract.output)),
    }
}

/// The values of `rows` pictures, all of them numbers.
pub(crate) fn check_values(values: Vec<f32>, rows: usize) -> Result<Vec<f32>, ServeError> {
    let needed = rows.saturating_mul(PICTURE_LEN);
    if values.len() != needed {
        return refuse(format!("{} values for a shape of {needed}", values.len()));
    }
    if !values.iter().all(|value| value.is_finite()) {
        return refuse("the input holds values that are not finite".to_owned());
    }
    Ok(values)
}

/// Little-endian floats, as both the binary extension and gRPC carry them.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<f32>, ServeError> {
    let (floats, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    } else {
        refuse(format!("{} bytes are not a whole number of {FP32} values", bytes.len()))
    }
}

/// The other way.
pub(crate) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn refuse<T>(why: String) -> Result<T, ServeError> {
    Err(ServeError::Request(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract { input: "data".into(), output: "scores".into(), classes: 10, single: false }
    }

    fn rows_of(name: &str, datatype: &str, shape: &[i64]) -> Result<usize, ServeError> {
        rows(&contract(), &[Head { name, datatype, shape }])
    }

    #[test]
    fn one_input_of_pictures_is_taken() {
        assert_eq!(rows_of("data", FP32, &[4, 3, 224, 224]).unwrap(), 4);
    }

    #[test]
    fn every_other_input_is_refused() {
        for (name, datatype, shape) in [
            ("image", FP32, &[1, 3, 224, 224][..]),
            ("data", "UINT8", &[1, 3, 224, 224]),
            ("data", FP32, &[1, 224, 224, 3]),
            ("data", FP32, &[3, 224, 224]),
            ("data", FP32, &[-1, 3, 224, 224]),
        ] {
            let refused = rows_of(name, datatype, shape).unwrap_err();
            assert_eq!(refused.kind(), "bad_request", "{name} {datatype} {shape:?}");
        }
        assert!(rows(&contract(), &[]).is_err());
    }

    #[test]
    fn values_must_fill_the_shape_and_be_numbers() {
        assert!(check_values(vec![0.5; PICTURE_LEN], 1).is_ok());
        assert!(check_values(vec![0.5; PICTURE_LEN - 1], 1).is_err());
        assert!(check_values(vec![f32::NAN; PICTURE_LEN], 1).is_err());
        assert!(check_values(Vec::new(), usize::MAX).is_err());
    }

    #[test]
    fn bytes_are_little_endian_floats() {
        let bytes = to_bytes(&[1.0, -2.5]);
        assert_eq!(bytes[..4], [0, 0, 0x80, 0x3f]);
        assert_eq!(from_bytes(&bytes).unwrap(), [1.0, -2.5]);
        assert!(from_bytes(&bytes[..7]).is_err());
    }

    #[test]
    fn only_the_models_own_output_can_be_asked_for() {
        assert!(check_outputs(&contract(), ["scores"].into_iter()).is_ok());
        assert!(check_outputs(&contract(), [].into_iter()).is_ok());
        assert!(check_outputs(&contract(), ["scores", "other"].into_iter()).is_err());
    }
}
