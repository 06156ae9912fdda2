//! The flags of endpoints from a cluster, and which Kubernetes Services they say to follow.

use std::{num::NonZeroU32, str::FromStr};

use clap::{ArgAction, Args};
use serde::Serialize;
use spotscale_decide::admission::Tier;

use crate::front::{
    config::{Config, ConfigError, SERVICE_DEFAULT},
    endpoint::Attribute,
};

/// Endpoints from a Kubernetes cluster.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Kubernetes {
    /// Takes endpoints from the `EndpointSlices` of Kubernetes Services, instead of --upstream: for each service of
    /// --service and --route the Kubernetes Service of that name, in the namespace of this pod where it names none.
    /// (A --service that was not given stands for none.) Pods are used while they are ready; the labels
    /// spotscale.dev/tier=gpu|cpu and spotscale.dev/concurrency=N of a Service say what its pods are. The connection
    /// is that of the pod's service account, or of KUBECONFIG.
    #[arg(long, env = "SPOTSCALE_FRONT_KUBERNETES")]
    pub kubernetes: bool,

    /// A Kubernetes Service to take instead of the one of the same name: `[NAMESPACE/]NAME[:PORT]`, optionally followed
    /// by tier=gpu|cpu, concurrency=N and service=NAME (of this front). May be repeated, also for one service: its
    /// gpu tier and its cpu tier are two. PORT is the name of the Service's port or the number of the pods' own;
    /// without it the port named http is taken, or the only one.
    #[arg(
        long = "kubernetes-service",
        env = "SPOTSCALE_FRONT_KUBERNETES_SERVICES",
        value_delimiter = ','
    )]
    pub kubernetes_services: Vec<Backend>,

    /// Watches Nodes too: an endpoint on one that is about to go or does not answer is chosen only while no other of
    /// its tier has a free slot. Needs list and watch on nodes; =false does without.
    #[arg(
        long,
        env = "SPOTSCALE_FRONT_KUBERNETES_NODES",
        action = ArgAction::Set,
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub kubernetes_nodes: bool,

    /// A further taint by which a Node is known to be about to go: its key, or all keys of a prefix that ends in /.
    /// Those of Spotscale, Karpenter, aws-node-termination-handler, the cluster autoscaler, GKE and of Kubernetes
    /// itself are known. May be repeated.
    #[arg(
        long = "kubernetes-notice-taint",
        env = "SPOTSCALE_FRONT_KUBERNETES_NOTICE_TAINTS",
        value_delimiter = ','
    )]
    pub kubernetes_notice_taints: Vec<String>,
}

/// A Kubernetes Service as `--kubernetes-service` spells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Where it is; none for the namespace of this pod.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Which of its ports; none for `http`, or the only one.
    pub port: Option<Port>,
    /// The class of its pods' machines; none for what its label says.
    pub tier: Option<Tier>,
    /// Requests that one of its pods takes at a time; none for what its label says.
    pub concurrency: Option<NonZeroU32>,
    /// The service of the front that its pods are replicas of; none where that needs no saying.
    pub service: Option<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Port {
    /// By the name that it has in the Service.
    Name(String),
    /// By the number that the pods listen on: `EndpointSlices` do not tell the Service's own.
    Number(u16),
}

/// A Kubernetes Service that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The service of the front.
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: Option<Port>,
    pub(super) tier: Option<Tier>,
    pub(super) concurrency: Option<NonZeroU32>,
}

const WANTED: &str =
    "[NAMESPACE/]NAME[:PORT], then optionally tier=gpu|cpu, concurrency=N, service=NAME";

impl Kubernetes {
    /// Checks what one flag alone cannot tell.
    pub(in crate::front) fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        let invalid = |flag, why: &str| Err(ConfigError::Invalid { flag, why: why.to_owned() });
        let has_taints = !self.kubernetes_notice_taints.is_empty();
        if !self.kubernetes {
            return match (self.kubernetes_services.is_empty(), has_taints) {
                (false, _) => invalid("--kubernetes-service", "needs --kubernetes"),
                (_, true) => invalid("--kubernetes-notice-taint", "needs --kubernetes"),
                _ => Ok(()),
            };
        }
        if has_taints && !self.kubernetes_nodes {
            return invalid("--kubernetes-notice-taint", "not with --kubernetes-nodes=false");
        }
        if !config.upstreams.is_empty() || config.upstreams_file.is_some() {
            return invalid(
                "--kubernetes",
                "not together with --upstream; a Service without a selector and an EndpointSlice of your own name \
                 endpoints outside of the cluster",
            );
        }
        if self
            .kubernetes_notice_taints
            .iter()
            .any(|key| key.is_empty() || key.contains([':', '=']))
        {
            return invalid("--kubernetes-notice-taint", "wanted a key, without value and effect");
        }
        targets(config, "own").map(drop)
    }
}

/// Every Kubernetes Service to follow, for a front in `own_namespace`.
pub(super) fn targets(config: &Config, own_namespace: &str) -> Result<Vec<Target>, ConfigError> {
    let services = config.service_names();
    let mut targets = Vec::new();
    for backend in &config.kubernetes.kubernetes_services {
        let service = backend.belongs_to(&services)?;
        targets.push(backend.target(service, own_namespace));
    }
    for service in services {
        let is_named = targets.iter().any(|target| target.service == service);
        // The catch-all of a front that only has routes is nobody's Kubernetes Service.
        if !is_named && service != SERVICE_DEFAULT {
            let invalid = |why| ConfigError::Invalid {
                flag: "--kubernetes",
                why: format!(
                    "{service:?} is no Kubernetes Service ({why}): name one for it by --kubernetes-service"
                ),
            };
            let backend = Backend::named(service).map_err(invalid)?;
            targets.push(backend.target(service, own_namespace));
        }
    }
    if targets.is_empty() {
        let why = "wanted a Kubernetes Service by --service, --route or --kubernetes-service";
        return Err(ConfigError::Invalid { flag: "--kubernetes", why: why.to_owned() });
    }
    Ok(targets)
}

impl Backend {
    /// One that is only named: `name` or `namespace/name`.
    fn named(text: &str) -> Result<Self, &'static str> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if !is_label(name) || !namespace.is_none_or(is_label) {
            return Err("names are of lower-case letters, digits and hyphens, 63 at most");
        }
        let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
        Ok(Self { namespace, name, port: None, tier: None, concurrency: None, service: None })
    }

    /// The service of the front: the one that is said, the one of the same name, or the only one there is.
    fn belongs_to<'a>(&self, services: &[&'a str]) -> Result<&'a str, ConfigError> {
        let own = match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        };
        let wanted = self.service.as_ref().unwrap_or(&own);
        let namesake = services.iter().find(|service| *service == wanted);
        match (namesake, services) {
            (Some(service), _) => Ok(service),
            (None, [only]) if self.service.is_none() => Ok(only),
            _ => Err(ConfigError::Invalid {
                flag: "--kubernetes-service",
                why: format!("{own}: service=NAME is to be one of {}", services.join(", ")),
            }),
        }
    }

    fn target(&self, service: &str, own_namespace: &str) -> Target {
        Target {
            service: service.to_owned(),
            namespace: self.namespace.clone().unwrap_or_else(|| own_namespace.to_owned()),
            name: self.name.clone(),
            port: self.port.clone(),
            tier: self.tier,
            concurrency: self.concurrency,
        }
    }

    fn set(&mut self, word: &str) -> Result<(), &'static str> {
        match word.parse()? {
            Attribute::Tier(tier) => self.tier = Some(tier),
            Attribute::Concurrency(concurrency) => self.concurrency = Some(concurrency),
            Attribute::Service(service) => self.service = Some(service),
        }
        Ok(())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why| format!("{text:?} is no Kubernetes Service: {why}; wanted: {WANTED}");
        let mut words = text.split_whitespace();
        let address = words.next().unwrap_or_default();
        let (name, port) = match address.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (address, None),
        };
        let mut backend = Self::named(name).map_err(refuse)?;
        backend.port = port.map(str::parse).transpose().map_err(refuse)?;
        words.try_for_each(|word| backend.set(word)).map_err(refuse)?;
        Ok(backend)
    }
}

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(0) => Err("port 0"),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if is_label(text) && !text.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Self::Name(text.to_owned()))
            }
            Err(_) => Err("a port is a name, or a number up to 65535"),
        }
    }
}

/// A DNS label (RFC 1123), as names of namespaces, Services and ports are.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
