//! `EndpointSlices` and what is known of Nodes in, endpoints out: which pods may be chosen, which of them last, and why
//! others may not. No I/O and no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
};

use http::uri::Authority;
use k8s_openapi::api::discovery::v1::{self as discovery, EndpointPort, EndpointSlice};
use spotscale_decide::admission::Tier;

use super::config::{Port, Target};
use crate::front::endpoint::{Endpoint, Listed, Protocol, parse_concurrency, parse_tier};

/// Put by Kubernetes on every `EndpointSlice`: the name of its Service.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Of a Service: `gpu` or `cpu`. Labels of a Service are copied to its `EndpointSlices`, annotations are not. So what
/// a label says costs no right to read Services; and reading pods, which would let them differ within one Service,
/// would mean the right to read their environment too. Pods that differ take two Services.
const TIER_LABEL: &str = "spotscale.dev/tier";
/// Of a Service: the requests that one of its pods takes at a time.
const CONCURRENCY_LABEL: &str = "spotscale.dev/concurrency";
/// The port that is meant where none is named.
const PORT_DEFAULT: &str = "http";
/// The `appProtocol` of HTTP/2 without TLS (Kubernetes KEP-3726).
const H2C: &str = "kubernetes.io/h2c";

/// What the front is to know.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In an order that depends on nothing but the objects.
    pub(super) endpoints: Vec<Listed>,
    pub(super) left_out: LeftOut,
    /// What an operator has to mend.
    pub(super) problems: BTreeSet<String>,
}

/// Pods that are not listed, by service of the front and by why.
pub(super) type LeftOut = BTreeMap<(String, Why), u64>;

/// Why a pod is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// Its readiness probe does not pass.
    NotReady,
    /// It has been told to end.
    Terminating,
}

/// One pod, put together from all slices that name it: it is in two while it moves between them, and in one per family
/// of addresses.
#[derive(Debug, Default)]
struct Pod<'a> {
    /// In any slice: nothing takes that back, so a slice that says otherwise is late.
    is_terminating: bool,
    ready: Option<Ready<'a>>,
}

#[derive(Debug)]
struct Ready<'a> {
    address: IpAddr,
    node: Option<&'a str>,
    endpoint: Endpoint,
}

/// What a slice says of all its pods.
struct Traits {
    port: u16,
    protocol: Protocol,
    tier: Tier,
    concurrency: Option<NonZeroU32>,
}

/// The pods of one service of the front, by the Service that they are found through and their own identity.
type Pods<'a> = BTreeMap<(usize, &'a str), Pod<'a>>;

/// Lists the endpoints of `targets`.
pub(super) fn list(
    targets: &[Target],
    slices: &[Arc<EndpointSlice>],
    is_under_notice: impl Fn(&str) -> bool,
) -> Listing {
    let mut listing = Listing::default();
    let mut services: BTreeMap<&str, Pods> = BTreeMap::new();
    for (index, target) in targets.iter().enumerate() {
        let pods = services.entry(&target.service).or_default();
        for slice in slices.iter().filter(|slice| target.owns(slice)) {
            listing.read((index, target), slice, pods);
        }
    }
    for (service, pods) in services {
        listing.choose(service, pods, &is_under_notice);
    }
    listing
}

impl Listing {
    fn read<'a>(
        &mut self,
        (index, target): (usize, &Target),
        slice: &'a EndpointSlice,
        pods: &mut Pods<'a>,
    ) {
        let mut complain = |why: String| {
            self.problems.insert(format!("Service {}/{}: {why}", target.namespace, target.name));
        };
        // The placeholder of a Service without pods names no port either.
        if slice.endpoints.is_empty() {
            return;
        }
        let traits = match Traits::read(target, slice, &mut complain) {
            Ok(traits) => traits,
            Err(why) => return complain(why),
        };
        for found in &slice.endpoints {
            // "Fungible", as the API has it: the first of its addresses will do.
            let Some(address) = found.addresses.first().and_then(|text| text.parse().ok()) else {
                complain(format!("{:?} are no IP addresses", found.addresses));
                continue;
            };
            pods.entry((index, identity(found))).or_default().add(found, address, &traits);
        }
    }

    fn choose(&mut self, service: &str, pods: Pods<'_>, is_under_notice: &impl Fn(&str) -> bool) {
        for why in Why::ALL {
            self.leave_out(service, why, 0);
        }
        for pod in pods.into_values() {
            match pod.ready {
                _ if pod.is_terminating => self.leave_out(service, Why::Terminating, 1),
                None => self.leave_out(service, Why::NotReady, 1),
                // Of a Node that does not answer this is right too: those of its pods that do not answer either are
                // ejected, and the front knows that sooner than Kubernetes.
                Some(Ready { node, endpoint, .. }) => self.endpoints.push(Listed {
                    is_leaving: node.is_some_and(is_under_notice),
                    endpoint: Endpoint { service: Some(service.to_owned()), ..endpoint },
                }),
            }
        }
    }

    fn leave_out(&mut self, service: &str, why: Why, count: u64) {
        *self.left_out.entry((service.to_owned(), why)).or_default() += count;
    }
}

impl<'a> Pod<'a> {
    fn add(&mut self, found: &'a discovery::Endpoint, address: IpAddr, traits: &Traits) {
        let conditions = found.conditions.as_ref();
        self.is_terminating |= conditions.and_then(|c| c.terminating).unwrap_or(false);
        // "Unknown" is to be taken for ready, says the API.
        let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        // A pod with an address of each family is one replica, not two: IPv4 sorts first.
        let is_better = self.ready.as_ref().is_none_or(|ready| address < ready.address);
        if !(is_ready && is_better) {
            return;
        }
        let Ok(authority) = Authority::try_from(SocketAddr::new(address, traits.port).to_string())
        else {
            return;
        };
        let Traits { protocol, tier, concurrency, .. } = *traits;
        let endpoint = Endpoint { protocol, tier, concurrency, ..Endpoint::new(authority) };
        self.ready = Some(Ready { address, node: found.node_name.as_deref(), endpoint });
    }
}

impl Traits {
    /// What the flag says goes before what the label says. A wrong label is a problem and otherwise as if it were not
    /// there.
    fn read(
        target: &Target,
        slice: &EndpointSlice,
        mut complain: impl FnMut(String),
    ) -> Result<Self, String> {
        let (port, protocol) = target.find(slice.ports.as_deref().unwrap_or_default())?;
        let tier = label(slice, TIER_LABEL, parse_tier, &mut complain);
        let concurrency = label(slice, CONCURRENCY_LABEL, parse_concurrency, &mut complain);
        Ok(Self {
            port,
            protocol,
            tier: target.tier.or(tier).unwrap_or(Tier::Gpu),
            concurrency: target.concurrency.or(concurrency),
        })
    }
}

impl Target {
    fn owns(&self, slice: &EndpointSlice) -> bool {
        let metadata = &slice.metadata;
        let labels = metadata.labels.as_ref();
        metadata.namespace.as_deref() == Some(&self.namespace)
            && labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) == Some(&self.name)
    }

    /// The port and the protocol spoken there.
    fn find(&self, ports: &[EndpointPort]) -> Result<(u16, Protocol), String> {
        let is_named = |port: &EndpointPort, name: &str| port.name.as_deref() == Some(name);
        let found = match &self.port {
            Some(Port::Name(name)) => ports.iter().find(|port| is_named(port, name)),
            Some(Port::Number(n)) => ports.iter().find(|port| port.port == Some(i32::from(*n))),
            None => match ports {
                [only] => Some(only),
                _ => ports.iter().find(|port| is_named(port, PORT_DEFAULT)),
            },
        };
        let number = found.and_then(|port| u16::try_from(port.port?).ok());
        let is_h2c = found.and_then(|port| port.app_protocol.as_deref()) == Some(H2C);
        let protocol = if is_h2c { Protocol::H2c } else { Protocol::Http1 };
        number.map(|number| (number, protocol)).ok_or_else(|| {
            let offered: Vec<String> = ports.iter().map(spell).collect();
            let offered = offered.join(", ");
            format!("which of its ports [{offered}] is meant? --kubernetes-service NAME:PORT says")
        })
    }
}

impl Why {
    pub(super) const ALL: [Self; 2] = [Self::NotReady, Self::Terminating];

    /// As metric labels spell it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::Terminating => "terminating",
        }
    }
}

fn label<T>(
    slice: &EndpointSlice,
    key: &str,
    parse: fn(&str) -> Result<T, &'static str>,
    complain: &mut impl FnMut(String),
) -> Option<T> {
    let text = slice.metadata.labels.as_ref()?.get(key)?;
    parse(text).map_err(|why| complain(format!("label {key}={text}: {why}"))).ok()
}

/// Two pods may have one address, one after the other; one pod may have two.
fn identity(found: &discovery::Endpoint) -> &str {
    let of_pod = found.target_ref.as_ref().and_then(|pod| pod.uid.as_deref());
    of_pod.or_else(|| found.addresses.first().map(String::as_str)).unwrap_or_default()
}

fn spell(port: &EndpointPort) -> String {
    let number = port.port.map_or_else(|| "?".to_owned(), |number| number.to_string());
    match port.name.as_deref() {
        Some(name) if !name.is_empty() => format!("{name}={number}"),
        _ => number,
    }
}

#[cfg(test)]
mod tests;
