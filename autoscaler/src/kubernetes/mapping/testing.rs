//! Objects for the tests of this module.

use jiff::Timestamp;
use serde_json::Value;

use crate::kubernetes::kinds::{Kind, Object, prune};

pub(in crate::kubernetes) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The object as a watch would store it.
pub(in crate::kubernetes) fn object<K: Kind>(text: &Value) -> Object<K> {
    let mut object = serde_json::from_value(text.clone()).unwrap();
    prune(&mut object);
    object
}

/// With another value at a JSON pointer, whose last step may be new.
pub(in crate::kubernetes) fn with(mut text: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = text.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        parent => parent[key.replace("~1", "/")] = value,
    }
    text
}
