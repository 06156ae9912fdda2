//! Tells the API server what a pod is at.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{board::Board, pod::Sandbox, status};

const TRY_AGAIN: Duration = Duration::from_millis(300);
/// What says nothing new is not written by the API server.
const AGAIN: Duration = Duration::from_secs(5);

/// Reports one pod. While its machine is cut off, nothing is said; afterwards, what then holds.
pub(super) struct Reporter<'a> {
    pod: &'a Sandbox,
    board: watch::Receiver<Board>,
    conditions: Vec<PodCondition>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(pod: &'a Sandbox) -> Self {
        let status = pod.identity.pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
        Self { pod, board: pod.board.subscribe(), conditions }
    }

    /// Reports every change, until there is nobody to report to; and again what has not changed: the node controller says
    /// of the pods of a Node that it gave up, be it for a moment, that they are not ready.
    pub(super) async fn follow(&mut self) {
        loop {
            self.report().await;
            if let Ok(Err(_)) = timeout(AGAIN, self.board.changed()).await {
                return;
            }
        }
    }

    /// Reports what holds now, and tries until that has worked or the object is gone.
    pub(super) async fn report(&mut self) {
        let identity = &self.pod.identity;
        let pods = Api::<Pod>::namespaced(self.pod.shared.client.clone(), identity.namespace());
        while self.pod.host.is_up().await {
            let patch = self.patch();
            let params = PatchParams::default();
            match pods.patch_status(&identity.name(), &params, &Patch::Strategic(patch)).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                // Another pod has its name; otherwise somebody else wrote at the same time.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let now = pods.get_metadata(&identity.name()).await;
                    if now.is_ok_and(|now| now.metadata.uid.as_deref() != Some(identity.uid())) {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, pod = identity.name(), "not reported yet"),
            }
            sleep(TRY_AGAIN).await;
        }
    }

    fn patch(&mut self) -> Value {
        let board = self.board.borrow_and_update().clone();
        let status = status::of(&board, &self.conditions, Timestamp::now());
        self.conditions = status.conditions.clone().unwrap_or_default();
        let mut status = json!(status);
        // Lists of conditions are merged: a reason that no longer holds must be taken out by name.
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            let reason = condition.get("reason").cloned();
            condition["reason"] = reason.unwrap_or(Value::Null);
        }
        json!({ "metadata": { "uid": self.pod.identity.uid() }, "status": status })
    }
}
