//! Strict reading of a trigger's `metadata`: a wrong value says which key and what would do, and a key that nobody
//! reads is an error, not a surprise.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, str::FromStr};

use super::TriggerError;

/// Keys that KEDA's own `external` and `external-push` triggers read; they reach every scaler.
const KEDAS_OWN: [&str; 7] = [
    "scalerAddress",
    "enableTLS",
    "unsafeSsl",
    "tlsClientCert",
    "tlsClientKey",
    "tlsCertFile",
    "caCert",
];

/// KEDA puts the value of an environment variable of the target under the key with this ending.
const FROM_ENV: &str = "FromEnv";

/// The least likeness at which a key is taken for a misspelt one.
const LIKENESS_MIN: f64 = 0.8;

/// The metadata of one trigger, and which of its keys have been asked for.
pub(super) struct Fields<'a> {
    metadata: &'a BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(metadata: &'a BTreeMap<String, String>) -> Self {
        Self { metadata, known: Vec::new() }
    }

    /// The text under `key`, or under `keyFromEnv`.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.push(key);
        let from_env = || self.metadata.get(&format!("{key}{FROM_ENV}"));
        self.metadata.get(key).or_else(from_env).map(|text| text.trim())
    }

    /// The value under `key`, which must parse.
    pub(super) fn parse<T: FromStr>(
        &mut self,
        key: &'static str,
        wanted: impl FnOnce() -> String,
    ) -> Result<Option<T>, TriggerError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| TriggerError::value(key, text, wanted()))
    }

    /// The number under `key`, which must lie in `range`.
    pub(super) fn number<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, TriggerError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        match self.parse(key, wanted)? {
            Some(value) if !range.contains(&value) => {
                Err(TriggerError::value(key, &value.to_string(), wanted()))
            }
            fine => Ok(fine),
        }
    }

    /// Refuses every key that was neither asked for nor is KEDA's own.
    pub(super) fn finish(self) -> Result<(), TriggerError> {
        let is_known = |key: &str| {
            KEDAS_OWN.contains(&key) || key.ends_with(FROM_ENV) || self.known.contains(&key)
        };
        match self.metadata.keys().find(|key| !is_known(key)) {
            Some(key) => Err(TriggerError::Unknown { key: key.clone(), hint: self.hint(key) }),
            None => Ok(()),
        }
    }

    fn hint(&self, key: &str) -> String {
        let likeness =
            |known: &&str| strsim::jaro_winkler(&known.to_lowercase(), &key.to_lowercase());
        let nearest = self.known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match nearest {
            Some(known) if likeness(known) >= LIKENESS_MIN => format!("did you mean {known}?"),
            _ => format!("known keys: {}", self.known.join(", ")),
        }
    }
}
