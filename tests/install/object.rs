//! A Kubernetes object as JSON, and how tests ask it things.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object(pub(crate) Value);

impl Object {
    /// The value at a JSON pointer; null where there is none.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The text at a JSON pointer; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// The items at a JSON pointer.
    pub(crate) fn items(&self, pointer: &str) -> Vec<Self> {
        items(self.at(pointer)).map(|item| Self(item.clone())).collect()
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// The map of strings at a JSON pointer.
    pub(crate) fn strings(&self, pointer: &str) -> BTreeMap<String, String> {
        let map = self.at(pointer).as_object().into_iter().flatten();
        map.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// The only container of a Deployment.
    pub(crate) fn container(&self) -> Self {
        let mut containers = self.items("/spec/template/spec/containers");
        assert_eq!(containers.len(), 1, "{}", self.name());
        containers.remove(0)
    }

    /// The arguments of the only container.
    pub(crate) fn args(&self) -> Vec<String> {
        let container = self.container();
        items(container.at("/args")).map(|arg| arg.as_str().unwrap().to_owned()).collect()
    }

    /// The value of `--FLAG=VALUE`, if it is there once.
    pub(crate) fn flag(&self, flag: &str) -> Option<String> {
        let prefix = format!("--{flag}=");
        let args = self.args();
        let mut found = args.iter().filter_map(|arg| arg.strip_prefix(&prefix));
        let value = found.next().map(str::to_owned);
        assert_eq!(found.next(), None, "--{flag} is there twice");
        value
    }

    /// The seconds of a flag such as `--drain-timeout=30s`.
    pub(crate) fn flag_duration(&self, flag: &str) -> Duration {
        let text = self.flag(flag).unwrap_or_else(|| panic!("{}: no --{flag}", self.name()));
        Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
    }
}

/// The only object of this kind and name.
pub(crate) fn find<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Object {
    let mut found = of_kind(objects, kind).filter(|object| object.name() == name);
    let first = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert_eq!(found.next(), None, "{kind} {name} is there twice");
    first
}

/// All objects of this kind.
pub(crate) fn of_kind<'a>(objects: &'a [Object], kind: &str) -> impl Iterator<Item = &'a Object> {
    objects.iter().filter(move |object| object.kind() == kind)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
