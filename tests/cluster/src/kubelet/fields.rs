//! What a pod may learn about itself: the downward API.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// A pod with what its spec does not say.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) pod: Pod,
    pub(super) ip: IpAddr,
    pub(super) host_ip: IpAddr,
}

impl Identity {
    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    pub(super) fn name(&self) -> String {
        self.pod.name_any()
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn service_account(&self) -> &str {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default")
    }

    /// The value of a `fieldRef`. A path that this stand-in does not know is an error, not an empty value.
    pub(super) fn field(&self, path: &str) -> anyhow::Result<String> {
        let node = || self.pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if let Some(key) = key_of(path, "metadata.labels") {
            return Ok(self.pod.labels().get(key).cloned().unwrap_or_default());
        }
        if let Some(key) = key_of(path, "metadata.annotations") {
            return Ok(self.pod.annotations().get(key).cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace().to_owned(),
            "metadata.uid" => self.uid().to_owned(),
            "metadata.labels" => lines(self.pod.labels()),
            "metadata.annotations" => lines(self.pod.annotations()),
            "spec.nodeName" => node().context("bound to no node")?,
            "spec.serviceAccountName" => self.service_account().to_owned(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            "status.hostIP" | "status.hostIPs" => self.host_ip.to_string(),
            _ => bail!("the field {path} is not known here"),
        })
    }
}

/// `KEY` of `map['KEY']`.
fn key_of<'a>(path: &'a str, map: &str) -> Option<&'a str> {
    path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_learns_its_name_address_and_labels() {
        let pod: Pod = serde_saphyr::from_str(
            "{metadata: {name: a, namespace: n, labels: {x/y: z}}, spec: {nodeName: m, containers: []}}",
        )
        .unwrap();
        let ip = [10, 244, 0, 1].into();
        let identity = Identity { pod, ip, host_ip: [10, 244, 0, 9].into() };
        let field = |path| identity.field(path).unwrap();
        assert_eq!(field("metadata.name"), "a");
        assert_eq!(field("spec.nodeName"), "m");
        assert_eq!(field("status.podIP"), "10.244.0.1");
        assert_eq!(field("metadata.labels['x/y']"), "z");
        assert_eq!(field("metadata.labels"), "x/y=\"z\"");
        assert!(identity.field("spec.unheardOf").is_err());
    }
}
