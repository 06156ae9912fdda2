//! Nodes by the thousand that cost next to nothing: KWOK keeps their leases, and says of every pod on them that it is
//! Running and Ready. No process runs; for that there is [`crate::kubelet`].
//!
//! A node's lease is renewed four times in the control plane's grace period ([`crate::Options::node_grace`]). With a
//! thousand nodes and 40 s, measured on two cores, all programs together take half a core, KWOK itself 8 % of one and
//! 90 MiB; with more nodes, make the period longer.

use std::process::Command;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::{Api, api::PostParams};

use crate::{
    control_plane::ControlPlane,
    kubelet::Machine,
    programs::{manifest_path, program},
};

/// Marks a node as KWOK's to keep.
const MARK: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// A running KWOK, for every node that is marked as its own; those of Karpenter's KWOK provider are.
#[derive(Debug)]
pub struct Kwok {
    config: kube::Config,
}

impl Kwok {
    /// Starts it. It ends with the control plane.
    pub async fn start(plane: &ControlPlane) -> anyhow::Result<Self> {
        let (key, value) = MARK;
        let mut command = Command::new(program("kwok")?);
        command.arg("--kubeconfig").arg(plane.kubeconfig());
        command.arg("--config").arg(manifest_path("kwok/stages.yaml")?).args([
            format!("--manage-nodes-with-annotation-selector={key}={value}"),
            format!("--node-lease-duration-seconds={}", plane.node_grace().as_secs()),
            // Its addresses of pods and nodes are never called; these are nobody's.
            "--cidr=192.0.2.0/24".to_owned(),
            "--node-ip=192.0.2.1".to_owned(),
        ]);
        plane.group().spawn("kwok", &mut command)?;
        Ok(Self { config: plane.config().await? })
    }

    /// Adds so many nodes, each as `machine` says of its number. They are Ready a moment later.
    pub async fn add_nodes(
        &self,
        count: usize,
        machine: impl Fn(usize) -> Machine,
    ) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(kube::Client::try_from(self.config.clone())?);
        let create = |number| {
            let (nodes, node) = (nodes.clone(), fake(&machine(number)));
            async move { nodes.create(&PostParams::default(), &node).await }
        };
        let created = futures::stream::iter(0..count).map(create).buffer_unordered(32);
        created.try_for_each(|_| std::future::ready(Ok(()))).await?;
        Ok(())
    }
}

fn fake(machine: &Machine) -> Node {
    let mut node = machine.node();
    let (key, value) = MARK;
    node.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    node.status = Some(NodeStatus {
        capacity: Some(machine.resources.clone()),
        allocatable: Some(machine.resources.clone()),
        ..NodeStatus::default()
    });
    node
}
