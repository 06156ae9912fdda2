//! The open inference protocol's bodies: JSON, or JSON followed by raw tensors (the binary tensor
//! extension).

use std::fmt;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use crate::{
    error::ServeError,
    model::Model,
    tensors::{FP32, Head, from_bytes, to_bytes},
};

/// Length of the JSON, when raw tensors follow it.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Parameters that would change the meaning of a request and are not served.
const UNSERVED: [&str; 3] = ["shared_memory_region", "classification", "sequence_id"];

/// An inference request.
#[derive(Debug)]
pub(super) struct Asked {
    wire: Wire,
    values: Vec<f32>,
}

/// How the answer is to be written.
#[derive(Debug)]
pub(super) struct Reply {
    id: Option<String>,
    binary: bool,
}

#[derive(Debug, Deserialize)]
struct Wire {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Map<String, Value>,
    data: Option<Flat>,
}

#[derive(Debug, Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Numbers, nested in arrays or not, in row-major order.
#[derive(Debug, Default)]
struct Flat(Vec<f32>);

impl Asked {
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, ServeError> {
        let (json, mut binary) = split(headers, body)?;
        let mut wire: Wire = serde_json::from_slice(json)
            .map_err(|error| ServeError::Request(format!("JSON: {error}")))?;
        wire.check_parameters()?;
        let mut values = Vec::new();
        for input in &mut wire.inputs {
            match (input.data.take(), input.parameters.get("binary_data_size")) {
                (Some(data), None) => values.extend(data.0),
                (None, Some(size)) => values.extend(take(&mut binary, size)?),
                _ => return refuse(format!("`{}` needs data or binary_data_size", input.name)),
            }
        }
        if binary.is_empty() {
            Ok(Self { wire, values })
        } else {
            refuse(format!("{} bytes follow the last tensor", binary.len()))
        }
    }

    pub(super) fn heads(&self) -> Vec<Head<'_>> {
        self.wire.inputs.iter().map(Input::head).collect()
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = &str> {
        self.wire.outputs.iter().map(|output| output.name.as_str())
    }

    pub(super) fn into_parts(self) -> (Vec<f32>, Reply) {
        let Self { wire, values } = self;
        let asked = |parameters: &Map<String, Value>, key: &str| {
            parameters.get(key).and_then(Value::as_bool)
        };
        let by_default = asked(&wire.parameters, "binary_data_output").unwrap_or(false);
        let output = wire.outputs.first();
        let own = output.and_then(|output| asked(&output.parameters, "binary_data"));
        (values, Reply { id: wire.id, binary: own.unwrap_or(by_default) })
    }
}

impl Input {
    fn head(&self) -> Head<'_> {
        let Self { name, datatype, shape, .. } = self;
        Head { name, datatype, shape }
    }
}

impl Wire {
    fn check_parameters(&self) -> Result<(), ServeError> {
        let inputs = self.inputs.iter().map(|input| &input.parameters);
        let outputs = self.outputs.iter().map(|output| &output.parameters);
        let mut keys = inputs.chain(outputs).chain([&self.parameters]).flat_map(Map::keys);
        match keys.find(|key| UNSERVED.iter().any(|unserved| key.starts_with(unserved))) {
            None => Ok(()),
            Some(key) => refuse(format!("parameter {key} is not served")),
        }
    }
}

impl Reply {
    pub(super) fn encode(self, model: &Model, rows: usize, scores: &[f32]) -> Response {
        let contract = &model.contract;
        let shape = [rows, contract.classes];
        let mut output = json!({"name": contract.output, "datatype": FP32, "shape": shape});
        let raw = self.binary.then(|| to_bytes(scores));
        match &raw {
            Some(raw) => output["parameters"] = json!({"binary_data_size": raw.len()}),
            None => output["data"] = json!(scores),
        }
        let mut whole = json!({
            "model_name": model.labels.model,
            "model_version": model.labels.version,
            "outputs": [output],
        });
        if let Some(id) = self.id {
            whole["id"] = Value::String(id);
        }
        let Some(raw) = raw else { return Json(whole).into_response() };
        let mut body = whole.to_string().into_bytes();
        let json_length = body.len();
        body.extend(raw);
        let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
        ([kind, (JSON_LENGTH, json_length.to_string())], body).into_response()
    }
}

fn split<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), ServeError> {
    let Some(length) = headers.get(JSON_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
    let split = length.and_then(|length| body.split_at_checked(length));
    split.ok_or_else(|| ServeError::Request(format!("{JSON_LENGTH} is not a length of the body")))
}

fn take(binary: &mut &[u8], size: &Value) -> Result<Vec<f32>, ServeError> {
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
    let split = size.and_then(|size| binary.split_at_checked(size));
    let Some((own, rest)) = split else {
        return refuse(format!("binary_data_size: {} bytes follow the JSON", binary.len()));
    };
    *binary = rest;
    from_bytes(own)
}

fn refuse<T>(why: String) -> Result<T, ServeError> {
    Err(ServeError::Request(why))
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Self::default();
        deserializer.deserialize_any(Collect(&mut flat.0))?;
        Ok(flat)
    }
}

/// Collects numbers at any depth; the JSON parser bounds the depth.
struct Collect<'f>(&'f mut Vec<f32>);

impl<'de> serde::de::DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or arrays of them")
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Collect(self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(length: Option<usize>, body: &[u8]) -> Result<Asked, ServeError> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(JSON_LENGTH, length.into());
        }
        Asked::parse(&headers, body)
    }

    fn input(extra: &str) -> String {
        format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[2],{extra}}}]}}"#)
    }

    #[test]
    fn nested_numbers_are_flattened_in_order() {
        let asked = parse(None, input(r#""data":[[1,2.5],[[-3]]]"#).as_bytes()).unwrap();
        assert_eq!(asked.values, [1.0, 2.5, -3.0]);
        assert!(!asked.into_parts().1.binary);
    }

    #[test]
    fn raw_tensors_follow_the_json() {
        let json = input(r#""parameters":{"binary_data_size":8}"#);
        let mut body = json.clone().into_bytes();
        body.extend(to_bytes(&[7.0, 8.0]));
        assert_eq!(parse(Some(json.len()), &body).unwrap().values, [7.0, 8.0]);
        body.push(0);
        assert!(parse(Some(json.len()), &body).is_err(), "a byte too many was taken");
        body.truncate(json.len() + 7);
        assert!(parse(Some(json.len()), &body).is_err(), "a byte too few was taken");
        assert!(parse(Some(body.len() + 1), &body).is_err());
    }

    #[test]
    fn binary_output_is_given_when_asked_for() {
        let ask = |rest: &str| {
            let body = format!(r#"{{"inputs":[],{rest}}}"#);
            parse(None, body.as_bytes()).unwrap().into_parts().1.binary
        };
        assert!(ask(r#""parameters":{"binary_data_output":true}"#));
        assert!(ask(r#""outputs":[{"name":"y","parameters":{"binary_data":true}}]"#));
        let own = r#""outputs":[{"name":"y","parameters":{"binary_data":false}}]"#;
        assert!(!ask(&format!(r#""parameters":{{"binary_data_output":true}},{own}"#)));
    }

    #[test]
    fn what_is_not_served_is_refused_not_ignored() {
        for extra in [
            r#""parameters":{"shared_memory_region":"r"}"#,
            r#""parameters":{}"#,
            r#""data":["1"]"#,
            r#""data":[1],"parameters":{"binary_data_size":4}"#,
        ] {
            assert!(parse(None, input(extra).as_bytes()).is_err(), "{extra}");
        }
        let deep = format!(r#""data":{}1{}"#, "[".repeat(500), "]".repeat(500));
        assert!(parse(None, input(&deep).as_bytes()).is_err());
    }
}
