//! A pod's volumes as folders. Each is changed as a whole, by exchanging a symbolic link, as a real kubelet does it:
//! who watches mounted files sees what it would see in a cluster.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume,
        VolumeProjection,
    },
};
use kube::{Api, Client, api::PostParams};

use super::{
    env::{config_map, secret},
    fields::Identity,
};

type Files = BTreeMap<String, Vec<u8>>;

/// A pod's volumes, under one folder.
#[derive(Debug)]
pub(super) struct Volumes {
    folder: PathBuf,
    /// Asked for once, by path: a new one at every look would be a change.
    tokens: Mutex<Files>,
}

impl Volumes {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, tokens: Mutex::default() }
    }

    /// Where the volume's files are.
    pub(super) fn path(&self, volume: &Volume) -> PathBuf {
        match &volume.host_path {
            Some(host) => PathBuf::from(&host.path),
            None => self.folder.join(&volume.name),
        }
    }

    /// Writes every volume that has content of its own, also again when that has changed.
    pub(super) async fn write(&self, client: &Client, identity: &Identity) -> anyhow::Result<()> {
        let spec = identity.pod.spec.as_ref();
        for volume in spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten() {
            let files = self
                .content(client, identity, volume)
                .await
                .with_context(|| format!("the volume {}", volume.name))?;
            match files {
                Some(files) => publish(&self.folder.join(&volume.name), &files)?,
                None => fs::create_dir_all(self.path(volume))?,
            }
        }
        Ok(())
    }

    /// What the volume contains; `None` if the pod itself fills it.
    async fn content(
        &self,
        client: &Client,
        identity: &Identity,
        volume: &Volume,
    ) -> anyhow::Result<Option<Files>> {
        let namespace = identity.namespace();
        let files = if let Some(source) = &volume.config_map {
            let found = config_map(client, namespace, &source.name).await?;
            chosen(found, source.items.as_deref(), source.optional, &source.name)?
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let found = secret(client, namespace, name).await?;
            chosen(found, source.items.as_deref(), source.optional, name)?
        } else if let Some(source) = &volume.downward_api {
            fields(identity, source.items.as_deref())?
        } else if let Some(source) = &volume.projected {
            let mut all = Files::new();
            for part in source.sources.iter().flatten() {
                all.extend(self.projected(client, identity, part).await?);
            }
            all
        } else if volume.empty_dir.is_some() || volume.host_path.is_some() {
            return Ok(None);
        } else {
            bail!("this kind of volume is not known here");
        };
        Ok(Some(files))
    }

    async fn projected(
        &self,
        client: &Client,
        identity: &Identity,
        part: &VolumeProjection,
    ) -> anyhow::Result<Files> {
        let namespace = identity.namespace();
        if let Some(source) = &part.config_map {
            let found = config_map(client, namespace, &source.name).await?;
            chosen(found, source.items.as_deref(), source.optional, &source.name)
        } else if let Some(source) = &part.secret {
            let found = secret(client, namespace, &source.name).await?;
            chosen(found, source.items.as_deref(), source.optional, &source.name)
        } else if let Some(source) = &part.downward_api {
            fields(identity, source.items.as_deref())
        } else if let Some(source) = &part.service_account_token {
            self.token(client, identity, source).await
        } else {
            bail!("this kind of projection is not known here")
        }
    }

    async fn token(
        &self,
        client: &Client,
        identity: &Identity,
        source: &ServiceAccountTokenProjection,
    ) -> anyhow::Result<Files> {
        let tokens = || self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tokens().get(&source.path).cloned();
        let token = match known {
            Some(token) => token,
            None => new_token(client, identity, source).await?,
        };
        tokens().insert(source.path.clone(), token.clone());
        Ok(Files::from([(source.path.clone(), token)]))
    }
}

/// The keys that are asked for under the paths that they are asked for at; all of them if nothing is said.
fn chosen(
    found: Option<Files>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    name: &str,
) -> anyhow::Result<Files> {
    let optional = optional == Some(true);
    let Some(mut found) = found else {
        return if optional { Ok(Files::new()) } else { bail!("{name} does not exist") };
    };
    let Some(items) = items else { return Ok(found) };
    let mut files = Files::new();
    for item in items {
        match found.remove(&item.key) {
            Some(bytes) => drop(files.insert(item.path.clone(), bytes)),
            None if optional => {}
            None => bail!("{name} has no key {}", item.key),
        }
    }
    Ok(files)
}

fn fields(identity: &Identity, items: Option<&[DownwardAPIVolumeFile]>) -> anyhow::Result<Files> {
    let file = |item: &DownwardAPIVolumeFile| {
        let field = item.field_ref.as_ref().context("only fieldRef is known here")?;
        Ok((item.path.clone(), identity.field(&field.field_path)?.into_bytes()))
    };
    items.into_iter().flatten().map(file).collect()
}

/// A token of the pod's `ServiceAccount`, bound to the pod: it is void when the pod is deleted.
async fn new_token(
    client: &Client,
    identity: &Identity,
    source: &ServiceAccountTokenProjection,
) -> anyhow::Result<Vec<u8>> {
    let pod = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(identity.name()),
        uid: Some(identity.uid().to_owned()),
    };
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audience.iter().cloned().collect(),
            expiration_seconds: source.expiration_seconds,
            bound_object_ref: Some(pod),
        },
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), identity.namespace());
    let answer = accounts
        .create_token_request(identity.service_account(), &PostParams::default(), &request)
        .await?;
    Ok(answer.status.context("no token came")?.token.into_bytes())
}

/// Makes `folder` show exactly `files`. Nobody sees a part of the change.
fn publish(folder: &Path, files: &Files) -> io::Result<()> {
    let now = folder.join("..data");
    if fs::read_link(&now).is_ok() && files_of(&now, "")? == *files {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let version = tempfile::Builder::new().prefix("..").tempdir_in(folder)?.keep();
    for (path, bytes) in files {
        let at = version.join(path);
        fs::create_dir_all(at.parent().unwrap_or(&version))?;
        fs::write(at, bytes)?;
    }
    let old = fs::read_link(&now);
    let next = folder.join("..data_next");
    symlink(version.file_name().unwrap_or_default(), &next)?;
    fs::rename(&next, &now)?;
    for name in files.keys().filter_map(|path| path.split('/').next()) {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    old.map_or(Ok(()), |old| fs::remove_dir_all(folder.join(old)))
}

/// Every file under `folder`, by its path from there.
fn files_of(folder: &Path, below: &str) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let path = format!("{below}{}", path.to_string_lossy());
        if entry.is_dir() {
            files.extend(files_of(&entry, &format!("{path}/"))?);
        } else {
            files.insert(path, fs::read(entry)?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_volume_changes_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("volume");
        publish(&at, &files(&[("a", "1"), ("deep/b", "2")])).unwrap();
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(at.join("deep/b")).unwrap(), "2");
        let first = fs::read_link(at.join("..data")).unwrap();

        publish(&at, &files(&[("a", "1"), ("deep/b", "2")])).unwrap();
        assert_eq!(fs::read_link(at.join("..data")).unwrap(), first, "nothing has changed");

        publish(&at, &files(&[("a", "3"), ("deep/b", "2")])).unwrap();
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "3");

        publish(&at, &files(&[("a", "3")])).unwrap();
        assert!(!at.join("deep/b").exists(), "what is gone is gone");
        assert!(!at.join(first).exists(), "the old version is kept");
    }

    #[test]
    fn only_what_is_optional_may_be_missing() {
        let item = |key: &str, path: &str| KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            mode: None,
        };
        let found = || Some(files(&[("a", "1"), ("b", "2")]));
        assert_eq!(chosen(found(), None, None, "m").unwrap().len(), 2);
        let one = chosen(found(), Some(&[item("a", "x/y")]), None, "m").unwrap();
        assert_eq!(one, files(&[("x/y", "1")]));
        assert!(chosen(found(), Some(&[item("c", "c")]), None, "m").is_err());
        assert!(chosen(found(), Some(&[item("c", "c")]), Some(true), "m").unwrap().is_empty());
        assert!(chosen(None, None, None, "m").is_err());
        assert!(chosen(None, None, Some(true), "m").unwrap().is_empty());
    }
}
