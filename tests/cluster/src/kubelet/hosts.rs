//! The names of Services, as each pod's `/etc/hosts`: there is no DNS here. A Service has the addresses of its ready
//! pods, with a cluster IP or without: nothing routes to cluster IPs, so a caller must use the target port.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, reflector, watcher},
};

/// One file for each namespace, because a short name means the Service of the pod's own.
#[derive(Debug)]
pub(super) struct Hosts {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<Service, BTreeSet<String>>,
    namespaces: BTreeSet<String>,
}

/// Namespace and name, and the name of a pod where a Service names its pods.
type Service = (String, String, Option<String>);

impl Hosts {
    pub(super) fn new(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, known: Mutex::default() })
    }

    /// The file for programs of this namespace; from now on it is kept up to date.
    pub(super) fn file(&self, namespace: &str) -> io::Result<PathBuf> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.namespaces.insert(namespace.to_owned());
        let path = self.folder.join(namespace);
        replace(&path, &text(&known.services, namespace))?;
        Ok(path)
    }

    /// Follows every `EndpointSlice`, for ever.
    pub(super) async fn follow(self: Arc<Self>, client: Client) {
        let (store, writer) = reflector::store();
        let slices = watcher(Api::<EndpointSlice>::all(client), watcher::Config::default());
        let mut changes = reflector(writer, slices).default_backoff().boxed();
        while let Some(change) = changes.next().await {
            if change.is_ok() {
                let slices = store.state();
                self.update(services(slices.iter().map(AsRef::as_ref)));
            }
        }
    }

    fn update(&self, services: BTreeMap<Service, BTreeSet<String>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.services == services {
            return;
        }
        known.services = services;
        for namespace in &known.namespaces {
            if let Err(error) =
                replace(&self.folder.join(namespace), &text(&known.services, namespace))
            {
                tracing::error!(%error, namespace, "its names stay as they were");
            }
        }
    }
}

fn services<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> BTreeMap<Service, BTreeSet<String>> {
    let mut all: BTreeMap<Service, BTreeSet<String>> = BTreeMap::new();
    for slice in slices {
        let Some(name) = slice.labels().get("kubernetes.io/service-name") else { continue };
        let service = |pod| (slice.namespace().unwrap_or_default(), name.clone(), pod);
        for endpoint in &slice.endpoints {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            if ready == Some(false) {
                continue;
            }
            let addresses = || endpoint.addresses.iter().cloned();
            all.entry(service(None)).or_default().extend(addresses());
            if let Some(pod) = &endpoint.hostname {
                all.entry(service(Some(pod.clone()))).or_default().extend(addresses());
            }
        }
    }
    all
}

fn text(services: &BTreeMap<Service, BTreeSet<String>>, namespace: &str) -> String {
    let mut out = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for ((of, name, pod), addresses) in services {
        let name = pod.iter().chain([name]).cloned().collect::<Vec<_>>().join(".");
        let short = if of == namespace { format!(" {name}") } else { String::new() };
        for address in addresses {
            let line = format!(
                "{address} {name}.{of}.svc.cluster.local {name}.{of}.svc {name}.{of}{short}\n"
            );
            out.push_str(&line);
        }
    }
    out
}

/// By renaming: a reader never finds half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: &str = "
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.244.0.1], conditions: {ready: true}, hostname: web-0}
- {addresses: [10.244.0.2], conditions: {ready: false}}
- {addresses: [10.244.0.3]}";

    #[test]
    fn a_name_has_the_addresses_of_the_ready_pods() {
        let slice: EndpointSlice = serde_saphyr::from_str(SLICE).unwrap();
        let services = services([&slice].into_iter());
        let text = |namespace| super::text(&services, namespace);
        let long = "10.244.0.1 web.shop.svc.cluster.local web.shop.svc web.shop";
        assert!(text("shop").contains(&format!("{long} web\n")), "{}", text("shop"));
        assert!(text("other").contains(&format!("{long}\n")), "a short name is of one namespace");
        assert!(text("shop").contains("10.244.0.3 web."));
        assert!(!text("shop").contains("10.244.0.2"), "it is not ready");
        assert!(text("shop").contains("10.244.0.1 web-0.web.shop.svc.cluster.local"));
    }
}
