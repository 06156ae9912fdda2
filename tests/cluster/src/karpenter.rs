//! Karpenter itself with its own KWOK provider: real scheduling, real NodePools, NodeOverlays and consolidation, on
//! nodes that [`crate::kwok`] keeps. Where pods must be processes, there is [`crate::provider`].
//!
//! That provider launches, of the types that Karpenter allows, the one that its own price list has as the cheapest. So
//! a NodeOverlay's price shows in what Karpenter allows, not in the choice between types that it leaves open: a
//! NodeClaim has the annotation `karpenter.sh/price-overlay-applied`, and when a node is replaced, only cheaper types
//! are left over. EC2's provider passes the overlaid order on.
//!
//! How long a NodeOverlay takes, measured with version 1.14.1 on two cores: its condition Ready comes after 0.05 to
//! 0.15 s, the next launch minds it, and a node that it makes too dear is replaced 27 s later: Karpenter looks for
//! such nodes every 10 s and thinks it over for 15 s. It does not look at one to which it meant a pod in the last 20 s, and
//! when it has found nothing to do, it looks again only after a change in the cluster, or five minutes.

use std::process::Command;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    apply::{apply, define, documents},
    catalog::Catalog,
    control_plane::{ControlPlane, until},
    exclusive::ports,
    programs::{manifest, program},
};

/// The node class that NodePools name; it has no settings.
pub const NODE_CLASS: &str = "kwok";

/// A running Karpenter. It ends with the control plane.
#[derive(Debug)]
pub struct Karpenter;

impl Karpenter {
    /// Installs its definitions and a node class and starts it, NodeOverlays on, with these types and prices to choose
    /// from.
    pub async fn start(plane: &ControlPlane, catalog: &Catalog) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        install_definitions(&client).await?;
        let class = json!({
            "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass",
            "metadata": { "name": NODE_CLASS }, "spec": {},
        });
        apply(&client, "default", &[serde_json::from_value(class)?]).await?;
        let types = plane.group().folder().join("instance-types.json");
        std::fs::write(&types, serde_json::to_vec_pretty(&instance_types(catalog))?)?;
        let [metrics, probes] = ports()?;
        let mut command = Command::new(program("karpenter")?);
        command
            .env("KUBECONFIG", plane.kubeconfig())
            .env("INSTANCE_TYPES_FILE_PATH", &types)
            .env("METRICS_PORT", metrics.to_string())
            .env("HEALTH_PROBE_PORT", probes.to_string())
            .env("DISABLE_LEADER_ELECTION", "true")
            .env("FEATURE_GATES", "NodeOverlay=true")
            .env("LOG_LEVEL", "debug")
            // It waits for more pods before it decides: by default 1 s, at most 10 s.
            .env("BATCH_IDLE_DURATION", "200ms")
            .env("BATCH_MAX_DURATION", "1s");
        plane.group().spawn("karpenter", &mut command)?;
        until("karpenter", || async {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", probes)).await.is_ok())
        })
        .await?;
        Ok(Self)
    }

    /// A NodePool of its node class, with these requirements, that consolidates at once.
    pub fn pool(name: &str, weight: u32, requirements: &[NodeSelectorRequirement]) -> Value {
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
            "spec": {
                "weight": weight,
                "disruption": { "consolidateAfter": "0s", "budgets": [{ "nodes": "100%" }] },
                "template": { "spec": {
                    "nodeClassRef": {
                        "group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": NODE_CLASS,
                    },
                    "requirements": requirements,
                } },
            },
        })
    }
}

/// Installs the definitions of NodePool, NodeClaim, NodeOverlay and the rest, and waits until objects of them can be
/// made.
pub async fn install_definitions(client: &Client) -> anyhow::Result<()> {
    define(client, &documents(&manifest("karpenter/crd.yaml")?)?).await
}

/// A requirement that a label be this.
pub fn exactly(key: &str, value: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![value.to_owned()]),
    }
}

/// The file that the KWOK provider reads its types from.
fn instance_types(catalog: &Catalog) -> Value {
    let offerings = |name: &str| -> Vec<Value> {
        let of_type = catalog.prices.iter().filter(|(offering, _)| offering.instance_type == name);
        let offering = |(offering, price): (&crate::catalog::Offering, &f64)| {
            let mut labels = offering.labels();
            labels.remove(crate::catalog::INSTANCE_TYPE);
            let requirements: Vec<_> =
                labels.iter().map(|(key, value)| exactly(key, value)).collect();
            json!({ "Price": price, "Available": true, "Requirements": requirements })
        };
        of_type.map(offering).collect()
    };
    let types = catalog.types.iter().map(|(name, resources)| {
        json!({
            "name": name, "offerings": offerings(name), "architecture": "amd64",
            "operatingSystems": ["linux"], "resources": resources,
        })
    });
    types.collect()
}
