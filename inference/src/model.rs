//! A model that takes requests, and the registry in which clients find it.

use std::borrow::Cow;

use crate::{engine::Contract, error::ServeError, metrics::ModelLabels, queue::Queue, scores};

/// A model that is open and warm, and runs on a thread of its own behind its queue.
pub(crate) struct Model {
    pub(crate) labels: ModelLabels,
    pub(crate) contract: Contract,
    pub(crate) weights: String,
    /// One label for each class, or none at all.
    pub(crate) classes: Vec<String>,
    /// Whether the output still needs a softmax.
    pub(crate) logits: bool,
    pub(crate) queue: Queue,
}

impl Model {
    /// Turns one row of output into probabilities.
    pub(crate) fn probabilities(&self, row: &mut [f32]) {
        if self.logits {
            scores::softmax(row);
        }
    }

    /// What people call a class.
    pub(crate) fn class(&self, index: usize) -> Cow<'_, str> {
        match self.classes.get(index) {
            Some(label) => Cow::Borrowed(label),
            None => Cow::Owned(format!("class {index}")),
        }
    }
}

/// All models, in the order of the command line.
pub(crate) struct Registry {
    models: Vec<Model>,
}

impl Registry {
    pub(crate) fn new(models: Vec<Model>) -> Self {
        Self { models }
    }

    /// `None` asks for the first that fits.
    pub(crate) fn get(
        &self,
        name: Option<&str>,
        version: Option<&str>,
    ) -> Result<&Model, ServeError> {
        let fits = |wanted: Option<&str>, have: &str| wanted.is_none_or(|wanted| wanted == have);
        let found = self
            .models
            .iter()
            .find(|model| fits(name, &model.labels.model) && fits(version, &model.labels.version));
        found.ok_or_else(|| ServeError::UnknownModel {
            name: name.unwrap_or_default().to_owned(),
            version: version.map(str::to_owned),
        })
    }

    /// The versions of `name` that are loaded.
    pub(crate) fn versions(&self, name: &str) -> Vec<String> {
        let of_name = self.models.iter().filter(|model| model.labels.model == name);
        of_name.map(|model| model.labels.version.clone()).collect()
    }
}
