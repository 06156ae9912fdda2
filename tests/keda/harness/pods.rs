//! The Pods of a workload, and what becomes of them: nothing, unless a test plays the kubelet.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::until;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::Workload;

impl Workload {
    /// Plays the kubelet until this is dropped: every Pod runs and is ready.
    pub(crate) fn pods_are_ready(&self) -> AbortOnDropHandle<()> {
        let conditions = json!([{ "type": "Ready", "status": "True" }]);
        self.pods_become("Running", &json!({ "phase": "Running", "conditions": conditions }))
    }

    /// Plays the kubelet until this is dropped: what every Pod was there for is done.
    pub(crate) fn pods_are_done(&self) -> AbortOnDropHandle<()> {
        self.pods_become("Succeeded", &json!({ "phase": "Succeeded" }))
    }

    fn pods_become(&self, phase: &'static str, status: &Value) -> AbortOnDropHandle<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let become_so = Patch::Merge(json!({ "status": status }));
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let others = ListParams::default().fields(&format!("status.phase!={phase}"));
                for pod in pods.list(&others).await.unwrap() {
                    // It may be gone by now.
                    let name = pod.name_any();
                    let _ = pods.patch_status(&name, &PatchParams::default(), &become_so).await;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }))
    }

    /// How many Jobs there are.
    pub(crate) async fn jobs(&self) -> anyhow::Result<usize> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(jobs.list(&ListParams::default()).await?.items.len())
    }

    /// Waits until there are so many Jobs.
    pub(crate) async fn until_jobs(&self, count: usize) {
        let there = || async { Ok(self.jobs().await? == count) };
        until(&format!("{count} jobs"), there).await.unwrap();
    }
}
