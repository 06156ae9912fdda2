//! A control plane with a large cluster's objects in it. Nothing runs them: there are no kubelets, no Karpenter, and of the
//! controllers only those without which no pod could be made, so that all stays as it was written but for what the test
//! and the daemon write.

use std::{future::ready, path::Path, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use spotscale_autoscaler::{NoticeKind, kubernetes::NOTICES};
use spotscale_test_cluster::{
    Options,
    control_plane::ControlPlane,
    group::{Group, logs},
    karpenter::install_definitions,
};
use tokio::time::interval;

use super::{Size, objects, pods};

/// Calls to the API server that are under way at once.
const AT_ONCE: usize = 32;
const NAME: &str = "scale";

pub(super) struct Crowd {
    pub(super) plane: ControlPlane,
    pub(super) size: Size,
    client: Client,
}

impl Crowd {
    pub(super) async fn new(size: Size) -> Self {
        let options = Options {
            // Nobody says that the nodes are alive.
            node_grace: Duration::from_hours(1),
            controllers: "namespace-controller,serviceaccount-controller".to_owned(),
            name: NAME.to_owned(),
            ..Options::default()
        };
        let _ = std::fs::remove_dir_all(logs(NAME));
        let group = Arc::new(Group::new(&logs(NAME)).unwrap());
        let (plane, _) = ControlPlane::start(group, &options).await.unwrap();
        let client = plane.client().await.unwrap();
        install_definitions(&client).await.unwrap();
        let crowd = Self { plane, size, client };
        crowd.fill().await;
        crowd
    }

    async fn fill(&self) {
        let size = self.size;
        let pools = ["spot", "on-demand"].into_iter().map(objects::pool);
        put(&self.of_karpenter("NodePool"), pools).await;
        put(&self.claims(), (0..size.nodes).map(objects::claim)).await;
        put(&self.nodes(), (0..size.nodes).map(objects::node)).await;
        let deployments = (0..size.deployments).map(|n| pods::deployment(size, n));
        put(&self.namespaced::<Deployment>(), deployments).await;
        put(&self.pods(), (0..size.pods()).map(|n| pods::pod(size, n))).await;
    }

    /// So many pods a second change their readiness, to and fro, until this is dropped.
    pub(super) async fn change_pods(&self, per_second: u32) {
        let mut moments = interval(Duration::from_secs(1) / per_second);
        let (pods, params) = (self.pods(), PatchParams::default());
        for n in 0.. {
            moments.tick().await;
            let name = pods::pod_name(self.size, n / 2 % self.size.pods());
            let patch = Patch::Strategic(pods::readiness(n % 2 == 1));
            pods.patch_status(&name, &params, &patch).await.unwrap();
        }
    }

    /// The first nodes are told that they will be taken in two minutes.
    pub(super) async fn notice(&self) {
        let deadline = Timestamp::now() + SignedDuration::from_mins(2);
        let text = serde_json::to_string(&[NoticeKind::Interruption { deadline }]).unwrap();
        let patch = json!({ "metadata": { "annotations": { NOTICES: text } } });
        let nodes = self.nodes();
        let tell = |node| {
            let (nodes, patch, name) = (nodes.clone(), patch.clone(), objects::node_name(node));
            async move { nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await }
        };
        let told = stream::iter((0..self.size.noticed).map(tell)).buffer_unordered(AT_ONCE);
        told.try_for_each(|_| ready(Ok(()))).await.unwrap();
    }

    /// Nodes that nothing more is to be placed on.
    pub(super) async fn closed(&self) -> Vec<Value> {
        list(&self.nodes(), &ListParams::default().fields("spec.unschedulable=true")).await
    }

    /// Pods that were released from their ReplicaSets.
    pub(super) async fn released(&self) -> Vec<Value> {
        list(&self.pods(), &ListParams::default().labels(&pods::released())).await
    }

    /// Everything that the daemon may write to.
    pub(super) async fn all(&self) -> Vec<Value> {
        let all = ListParams::default();
        let mut found = list(&self.nodes(), &all).await;
        found.extend(list(&self.pods(), &all).await);
        found.extend(list(&self.claims(), &all).await);
        found
    }

    fn nodes(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<Node>(&()))
    }

    fn pods(&self) -> Api<DynamicObject> {
        self.namespaced::<Pod>()
    }

    fn claims(&self) -> Api<DynamicObject> {
        self.of_karpenter("NodeClaim")
    }

    fn of_karpenter(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("karpenter.sh", "v1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    fn namespaced<K: kube::Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::default_namespaced_with(self.client.clone(), &ApiResource::erase::<K>(&()))
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }
}

/// Makes the objects, with their status.
async fn put(api: &Api<DynamicObject>, objects: impl Iterator<Item = Value>) {
    let put = |object: Value| {
        let api = api.clone();
        async move {
            let status = json!({ "status": object["status"] });
            let object: DynamicObject = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await?;
            if !status["status"].is_null() {
                let (name, params) = (object.name_any(), PatchParams::default());
                api.patch_status(&name, &params, &Patch::Merge(status)).await?;
            }
            anyhow::Ok(())
        }
    };
    let put = stream::iter(objects.map(put)).buffer_unordered(AT_ONCE);
    put.try_for_each(|()| ready(Ok(()))).await.unwrap();
}

async fn list(api: &Api<DynamicObject>, params: &ListParams) -> Vec<Value> {
    let all = api.list(params).await.unwrap();
    all.items.iter().map(|object| serde_json::to_value(object).unwrap()).collect()
}
