//! A vault that is a ConfigMap. The API server takes a replacement only for the version that was read, so that of two
//! daemons the one that knows less loses.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Client, Error, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};

use super::names::{MANAGED_BY, MANAGER};
use crate::vault::{Stored, Vault, VaultError, Version};

/// The key of the one entry.
const KEY: &str = "state";
/// The API server takes 1 MiB a ConfigMap, in base64 and with its metadata.
const BYTES_MAX: usize = 750 << 10;

/// State in a ConfigMap.
#[derive(Clone)]
pub struct ConfigMapVault {
    maps: Api<ConfigMap>,
    name: String,
}

// === impl ConfigMapVault ===

impl ConfigMapVault {
    /// The ConfigMap need not exist, its namespace must.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

#[async_trait]
impl Vault for ConfigMapVault {
    async fn load(&self) -> Result<Option<Stored>, VaultError> {
        let Some(map) = self.maps.get_opt(&self.name).await.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let version = version(&map);
        let entry = map.binary_data.and_then(|mut data| data.remove(KEY));
        // An entry that is not there was taken out by somebody: it cannot be read, and is set aside as such.
        Ok(Some(Stored { bytes: entry.map_or_else(Vec::new, |bytes| bytes.0), version }))
    }

    async fn save(&self, bytes: &[u8], over: Option<&Version>) -> Result<Version, VaultError> {
        if bytes.len() > BYTES_MAX {
            return Err(VaultError::TooLarge { bytes: bytes.len(), bytes_max: BYTES_MAX });
        }
        let (map, params) = (map(&self.name, bytes, over), params());
        let saved = match over {
            None => self.maps.create(&params, &map).await,
            Some(_) => self.maps.replace(&self.name, &params, &map).await,
        };
        saved.map(|map| version(&map)).map_err(|error| failed(&error))
    }

    async fn set_aside(&self, stored: &Stored) -> Result<String, VaultError> {
        let name = format!("{}-refused-{}", self.name, stored.version.0);
        match self.maps.create(&params(), &map(&name, &stored.bytes, None)).await {
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(&error)),
        }
        Ok(format!("ConfigMap {name}"))
    }
}

fn map(name: &str, bytes: &[u8], over: Option<&Version>) -> ConfigMap {
    let managed_by = (MANAGED_BY.to_owned(), MANAGER.to_owned());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([managed_by])),
            resource_version: over.map(|version| version.0.clone()),
            ..ObjectMeta::default()
        },
        binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes.to_vec()))])),
        ..ConfigMap::default()
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn version(map: &ConfigMap) -> Version {
    Version(map.resource_version().unwrap_or_default())
}

/// Replacing what is gone is a conflict, too: somebody deleted it.
fn failed(error: &Error) -> VaultError {
    match error {
        Error::Api(status) if matches!(status.code, 404 | 409) => VaultError::Conflict,
        error => VaultError::Unavailable(super::act::failed(error).to_string()),
    }
}
