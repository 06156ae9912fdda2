//! What goes wrong: crashes, sick processes, lost machines, a lost API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Node};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use spotscale_test_cluster::{
    TestCluster,
    kubelet::{Running, Signal},
};

use crate::world::{World, get};

/// The only container of the pod, as the API server has it.
async fn container(world: &World, pod: &Running) -> anyhow::Result<ContainerStatus> {
    let status = world.pods().get(&pod.name).await?.status.unwrap_or_default();
    status.container_statuses.and_then(|mut all| all.pop()).ok_or(anyhow::anyhow!("no status"))
}

#[tokio::test]
async fn a_killed_process_is_started_again() {
    let world = World::new("crash").await;
    world.deploy(1, |_| {}).await;
    let pod = world.ready(1).await.remove(0);
    world.endpoints_are(&[&pod]).await;
    assert_eq!(world.kubelet.kill(&world.namespace, &pod.name, Signal::KILL), 1);
    world
        .until("the second run", || async {
            let status = container(&world, &pod).await?;
            Ok(status.restart_count == 1 && status.ready)
        })
        .await;
    let last = container(&world, &pod).await.unwrap().last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("Error")));
    let again = world.ready(1).await.remove(0);
    assert_eq!((&again.name, again.ip), (&pod.name, pod.ip));
    assert_ne!(again.pids, pod.pids);
    assert!(get(&again, "/").await.is_ok());
    world.endpoints_are(&[&again]).await;
}

#[tokio::test]
async fn probes_take_a_pod_out_and_start_it_again() {
    let world = World::new("sick").await;
    world
        .deploy(1, |spec| {
            let probe = |file: &str, failures: u32| {
                json!({
                    "httpGet": { "path": format!("/gone/tmp/{file}"), "port": "http" },
                    "periodSeconds": 1, "failureThreshold": failures,
                })
            };
            let container = &mut spec["containers"][0];
            let has_started = "test -e /tmp/up && test ! -e /tmp/dead";
            container["startupProbe"] = json!({
                "exec": { "command": ["sh", "-c", has_started] },
                "periodSeconds": 1, "failureThreshold": 60 });
            container["readinessProbe"] = probe("busy", 1);
            container["livenessProbe"] = probe("dead", 2);
        })
        .await;
    let pod = world.ready(1).await.remove(0);
    world.endpoints_are(&[&pod]).await;
    get(&pod, "/write/tmp/busy").await.unwrap();
    world.endpoints_are(&[]).await;
    assert_eq!(container(&world, &pod).await.unwrap().restart_count, 0, "it is only busy");

    get(&pod, "/write/tmp/dead").await.unwrap();
    world
        .until("a new run, with files of its own", || async {
            let status = container(&world, &pod).await?;
            Ok(status.restart_count == 1 && status.ready)
        })
        .await;
    world.endpoints_are(&[&pod]).await;
}

#[tokio::test]
async fn what_somebody_else_says_of_a_pod_is_put_right() {
    let world = World::new("right").await;
    world.deploy(1, |_| {}).await;
    let pod = world.ready(1).await.remove(0);
    world.endpoints_are(&[&pod]).await;
    // As the node controller does when a lease looks too old.
    let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let (params, patch) = (PatchParams::default(), Patch::Strategic(status));
    world.pods().patch_status(&pod.name, &params, &patch).await.unwrap();
    world
        .until("the pod to be ready again", || async {
            let status = world.pods().get(&pod.name).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            Ok(conditions.any(|one| one.type_ == "Ready" && one.status == "True"))
        })
        .await;
    world.endpoints_are(&[&pod]).await;
}

#[tokio::test]
async fn a_lost_machine_takes_its_pods_and_others_replace_them() {
    let world = World::new("lost").await;
    world
        .deploy(1, |spec| {
            spec["tolerations"] = json!(["not-ready", "unreachable"].map(|taint| json!({
                "key": format!("node.kubernetes.io/{taint}"), "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 0,
            })));
        })
        .await;
    let pod = world.ready(1).await.remove(0);
    world.kubelet.take(&pod.machine);
    world.until("its processes to end", || async { Ok(get(&pod, "/").await.is_err()) }).await;
    let object = world.pods().get(&pod.name).await.unwrap();
    assert!(object.metadata.deletion_timestamp.is_none(), "nobody has noticed yet");

    let replacement = world.ready(1).await.remove(0);
    assert_ne!(replacement.machine, pod.machine);
    world.endpoints_are(&[&replacement]).await;
    world.kubelet.forget(&pod.machine).await.unwrap();
    let nodes = Api::<Node>::all(world.client.clone());
    assert!(nodes.get_opt(&pod.machine).await.unwrap().is_none());
}

#[tokio::test]
async fn a_machine_that_is_cut_off_hears_of_it_later() {
    let world = World::new("cut").await;
    world.deploy(1, |_| {}).await;
    let pod = world.ready(1).await.remove(0);
    world.kubelet.cut(&pod.machine);
    world.pods().delete(&pod.name, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(get(&pod, "/").await.is_ok(), "its machine cannot know that it is deleted");
    assert!(world.pods().get_opt(&pod.name).await.unwrap().is_some());
    world.kubelet.heal(&pod.machine).await.unwrap();
    world
        .until("the deletion", || async { Ok(world.pods().get_opt(&pod.name).await?.is_none()) })
        .await;
    assert!(get(&pod, "/").await.is_err());
}

#[tokio::test]
async fn the_api_server_may_go_and_come() {
    let (world, _guard) = World::alone("api").await;
    world.deploy(1, |_| {}).await;
    let pod = world.ready(1).await.remove(0);
    let plane = TestCluster::shared().plane();
    plane.kill_api_server().unwrap();
    assert_eq!(world.kubelet.kill(&world.namespace, &pod.name, Signal::KILL), 1);
    world
        .until("the restart, which needs nobody", || async {
            let pods = world.kubelet.pods();
            Ok(pods.iter().any(|now| now.ready && now.pids != pod.pids))
        })
        .await;
    plane.restart_api_server().await.unwrap();
    world
        .until("the report", || async { Ok(container(&world, &pod).await?.restart_count == 1) })
        .await;
    world.deploy(3, |_| {}).await;
    let pods = world.ready(3).await;
    world.endpoints_are(&[&pods[0], &pods[1], &pods[2]]).await;
}

#[tokio::test]
async fn a_job_ends() {
    let world = World::new("job").await;
    let mut spec = world.pod_spec();
    spec["restartPolicy"] = json!("OnFailure");
    spec["containers"] = json!([{
        "name": "work", "image": "registry:5000/server",
        "command": ["sh", "-c", "test -e /state/second || { touch /state/second; exit 3; }"],
        "volumeMounts": [{ "name": "state", "mountPath": "/state" }],
    }]);
    spec["volumes"] = json!([{ "name": "state", "emptyDir": {} }]);
    world
        .apply(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "work" },
            "spec": { "template": { "spec": spec } },
        }))
        .await;
    world
        .until("the pod to succeed at its second run", || async {
            let pods = world.pods().list(&ListParams::default()).await?.items;
            let status = pods.into_iter().next().and_then(|pod| pod.status).unwrap_or_default();
            let restarts = status.container_statuses.unwrap_or_default();
            Ok(status.phase.as_deref() == Some("Succeeded") && restarts[0].restart_count == 1)
        })
        .await;
}

#[tokio::test]
async fn a_machine_may_come_later() {
    let world = World::new("later").await;
    world
        .deploy(1, |spec| {
            spec["nodeSelector"]["kind"] = json!("gpu");
            spec["containers"][0]["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } });
        })
        .await;
    let late = world.plain_machine("gpu").label("kind", "gpu").resource("nvidia.com/gpu", "1");
    let name = late.name.clone();
    world.kubelet.add(late).await.unwrap();
    assert_eq!(world.ready(1).await[0].machine, name);
}
