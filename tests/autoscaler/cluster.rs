//! What is seen of the cluster, and each action done on it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{core::v1::Node, events::v1::Event};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_autoscaler::{
    Action, Applied, Cluster as _, ClusterError, CordonCause, Decision, EndedBy, News,
    NodeNotices as _, NodePhase, NoticeKind, Observation, Outcome, PodPhase, Reason,
    kubernetes::{KubeCluster, NOTICES, OwnNode},
};
use spotscale_decide::units::{NodeName, PodName, Replicas};

use crate::world::{World, restricted};

const TAINT: &str = "spotscale.dev/interruption";

fn taint(node: &Node) -> Option<String> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    taints.iter().find(|taint| taint.key == TAINT)?.value.clone()
}

/// Who keeps load balancers outside away from the node.
fn excluded_by(node: &Node) -> Option<&str> {
    node.labels().get("node.kubernetes.io/exclude-from-external-load-balancers").map(String::as_str)
}

fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().unwrap().unschedulable == Some(true)
}

pub(crate) async fn applied(cluster: &KubeCluster, action: Action) -> Applied {
    cluster.apply(&action).await.unwrap()
}

fn names(seen: &Observation) -> Vec<String> {
    seen.pods.iter().map(|pod| pod.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_cordoned_and_uncordoned_and_the_second_time_it_is_so_already() {
    let world = World::new("cordon", 1).await;
    let cluster = world.watch().await;
    world
        .patch_node(0, json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } }))
        .await;
    let node: NodeName = world.machine(0).parse().unwrap();
    let cordon = || Action::Cordon { node: node.clone(), cause: CordonCause::Surplus };
    let uncordon = || Action::Uncordon { node: node.clone() };
    assert_eq!(applied(&cluster, cordon()).await, Applied::Done);
    assert_eq!(applied(&cluster, cordon()).await, Applied::AlreadySo);
    let now = world.node(0).await;
    assert_eq!((taint(&now).as_deref(), is_unschedulable(&now)), (Some("surplus"), true));
    assert_eq!(excluded_by(&now), Some("spotscale-autoscaler"));
    let is_cordoned = |seen: &Observation| seen.nodes[0].cordoned == Some(CordonCause::Surplus);
    let seen = world.seen(&cluster, "the cordon", is_cordoned).await;
    assert_eq!(seen.nodes[0].offering.to_string(), "spot g4dn.xlarge in a");
    assert_eq!(seen.nodes[0].phase, NodePhase::Ready);

    assert_eq!(applied(&cluster, uncordon()).await, Applied::Done);
    assert_eq!(applied(&cluster, uncordon()).await, Applied::AlreadySo);
    let now = world.node(0).await;
    assert_eq!((taint(&now), is_unschedulable(&now), excluded_by(&now)), (None, false, None));
    assert!(now.spec.unwrap().taints.unwrap().iter().any(|taint| taint.key == "gpu"), "not ours");

    let gone = Action::Cordon { node: "nobody".parse().unwrap(), cause: CordonCause::Notice };
    assert_eq!(applied(&cluster, gone).await, Applied::AlreadySo);
    let offering = seen.nodes[0].offering.clone();
    let launch = Action::Launch { node, offering };
    assert_eq!(cluster.apply(&launch).await.unwrap_err().kind(), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_somebody_else_keeps_load_balancers_away_from_stays_so() {
    let world = World::new("excluded", 1).await;
    let cluster = world.watch().await;
    let theirs = json!({ "node.kubernetes.io/exclude-from-external-load-balancers": "karpenter" });
    world.patch_node(0, json!({ "metadata": { "labels": theirs } })).await;
    let node: NodeName = world.machine(0).parse().unwrap();
    let cordon = Action::Cordon { node: node.clone(), cause: CordonCause::Notice };
    for action in [cordon, Action::Uncordon { node }] {
        assert_eq!(applied(&cluster, action).await, Applied::Done);
        assert_eq!(excluded_by(&world.node(0).await), Some("karpenter"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_at_the_same_time_loses_nothing() {
    let world = World::new("writers", 1).await;
    let cluster = world.watch().await;
    let node: NodeName = world.machine(0).parse().unwrap();
    let deadline = Timestamp::now() + SignedDuration::from_secs(120);
    let interruption = NoticeKind::Interruption { deadline };
    let own = OwnNode::new(restricted(&world.cluster).await, node.clone());
    let cordon = Action::Cordon { node: node.clone(), cause: CordonCause::Notice };
    let noise = async {
        // With the two others it must not take a writer's last try.
        for n in 0..4 {
            world
                .patch_node(0, json!({ "metadata": { "labels": { "noise": n.to_string() } } }))
                .await;
        }
    };
    let (cordoned, told, rebalance, ()) = tokio::join!(
        cluster.apply(&cordon),
        own.tell(std::slice::from_ref(&interruption)),
        cluster.notify(&node, News::Stands(NoticeKind::Rebalance)),
        noise,
    );
    told.unwrap();
    assert_eq!((cordoned.unwrap(), rebalance.unwrap()), (Applied::Done, Applied::Done));
    let both = |seen: &Observation| seen.notices.len() == 2;
    let seen = world.seen(&cluster, "both notices", both).await;
    let kinds: Vec<_> = seen.notices.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [interruption, NoticeKind::Rebalance]);
    assert_eq!(taint(&world.node(0).await).as_deref(), Some("notice"));

    let later = NoticeKind::Interruption { deadline: deadline + SignedDuration::from_secs(9) };
    let again = cluster.notify(&node, News::Stands(later)).await.unwrap();
    assert_eq!(again, Applied::AlreadySo, "the earliest deadline stands");
    world.patch_node(0, json!({ "metadata": { "annotations": { NOTICES: "soon" } } })).await;
    world.seen(&cluster, "no notice", |seen| seen.notices.is_empty()).await;
    assert_eq!(cluster.notify(&node, News::MaintenanceOver).await.unwrap(), Applied::Done);
    assert!(!world.node(0).await.annotations().contains_key(NOTICES), "it was mended");
}

/// Scenario 18: what stays with its node, and what would come back, is not in the way.
#[tokio::test(flavor = "multi_thread")]
async fn daemon_pods_static_pods_and_pods_that_tolerate_the_cordon_are_left() {
    let world = World::new("stay", 1).await;
    world.deploy("resnet", 1).await;
    let mut daemon_set = world.deployment("agent", 1);
    daemon_set["kind"] = "DaemonSet".into();
    daemon_set["spec"].as_object_mut().unwrap().remove("replicas");
    world.apply(daemon_set).await;
    let pod = |name: &str, annotations: Value, tolerations: Value| {
        let mut spec = world.pod_spec();
        spec["tolerations"] = tolerations;
        spec["nodeName"] = world.machine(0).into();
        let metadata = json!({ "name": name, "annotations": annotations });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
    };
    let mirror = json!({ "kubernetes.io/config.mirror": "x" });
    world.apply(pod("static", mirror, json!([]))).await;
    let all = json!([{ "operator": "Exists", "effect": "NoSchedule" }]);
    world.apply(pod("clings", json!({}), all)).await;
    world.apply(pod("plain", json!({}), json!([]))).await;
    world.ready(5).await;
    let cluster = world.watch().await;
    let is_listed = |seen: &Observation| seen.pods.len() == 2;
    let seen = world.seen(&cluster, "two pods", is_listed).await;
    let plain = format!("{}/plain", world.namespace);
    let of_ours: Vec<_> = seen.pods.iter().filter(|pod| pod.workload.is_some()).collect();
    assert!(names(&seen).contains(&plain), "{:?}", names(&seen));
    assert_eq!((of_ours.len(), of_ours[0].phase), (1, PodPhase::Ready));
    assert_eq!(seen.workloads.len(), 1, "{:?}", seen.workloads);
    assert_eq!(seen.workloads[0].replicas_wanted, Replicas(1));
}

/// Scenarios 18 and 19: a disruption budget is honoured until a deadline leaves no time, and the pod then has what is
/// left of its grace.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_honoured_unless_the_deadline_forces() {
    let world = World::new("budget", 1).await;
    world.deploy("resnet", 1).await;
    world.budget("resnet", "minAvailable", 1).await;
    let name = world.ready(1).await.into_keys().next().unwrap();
    let cluster = world.watch().await;
    let pod: PodName = format!("{}/{name}", world.namespace).parse().unwrap();
    let evict = |by, force| Action::Evict { pod: pod.clone(), by, force };
    world
        .until("the budget to count", || async {
            let refused = cluster.apply(&evict(None, false)).await;
            Ok(matches!(refused, Err(ClusterError::Refused(why)) if why.contains("needs 1 healthy pods")))
        })
        .await;
    assert!(world.living().await.contains_key(&name));
    let by = Timestamp::now() + SignedDuration::from_secs(3);
    let Applied::Forced { against } = applied(&cluster, evict(Some(by), true)).await else {
        panic!("it was not forced");
    };
    assert!(against.contains("resnet-minavailable"), "{against}");
    if let Some(ending) = world.pods().get_opt(&name).await.unwrap() {
        let grace = ending.metadata.deletion_grace_period_seconds.unwrap();
        assert!((1..=3).contains(&grace), "{grace} s of grace");
    }
    world
        .until("the pod to be gone", || async {
            Ok(cluster.apply(&evict(None, false)).await? == Applied::AlreadySo)
        })
        .await;
}

/// Scenario 20: a machine that goes behind the cluster's back has ended by the hand of who said that it would; of one of
/// which nobody said so it is not known.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_gone_has_ended_by_the_hand_of_who_said_so() {
    let world = World::new("gone", 2).await;
    let cluster = world.watch().await;
    world.seen(&cluster, "two nodes", |seen| seen.nodes.len() == 2).await;
    let taken: NodeName = world.machine(0).parse().unwrap();
    let deadline = Timestamp::now();
    let news = News::Stands(NoticeKind::Interruption { deadline });
    cluster.notify(&taken, news).await.unwrap();
    world.seen(&cluster, "the notice", |seen| !seen.notices.is_empty()).await;
    for n in 0..2 {
        world.kubelet.take(&world.machine(n));
        world.kubelet.forget(&world.machine(n)).await.unwrap();
    }
    let both_ended =
        |seen: &Observation| seen.nodes.iter().filter(|node| !node.is_alive()).count() == 2;
    let seen = world.seen(&cluster, "two ends", both_ended).await;
    for node in seen.nodes {
        let by = if node.name == taken { EndedBy::Provider } else { EndedBy::Unknown };
        assert!(matches!(node.phase, NodePhase::Ended { by: who, .. } if who == by), "{node:?}");
    }
}

/// A view that is too old must not drive evictions.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_cluster_is_out_of_reach_nothing_is_seen() {
    let world = World::alone("away", 1).await;
    let cluster = world.watch().await;
    world.cluster.plane().kill_api_server().unwrap();
    let refused = || async {
        let seen = cluster.observe().await;
        Ok(seen.is_err_and(|error| error.kind() == "unavailable"))
    };
    world.until("the view to be refused", refused).await;
    world.restart_api_server().await;
    world.seen(&cluster, "the node again", |seen| seen.nodes.len() == 1).await;
    let params = PatchParams::default();
    let label =
        Patch::Merge(json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "b" } } }));
    world.nodes().patch(&world.machine(0), &params, &label).await.unwrap();
    let in_b = |seen: &Observation| seen.nodes[0].offering.zone.as_str() == "b";
    world.seen(&cluster, "news", in_b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_told_on_its_object_and_repeats_are_counted() {
    let world = World::new("events", 1).await;
    let cluster = world.watch().await;
    world.seen(&cluster, "the node", |seen| seen.nodes.len() == 1).await;
    let node: NodeName = world.machine(0).parse().unwrap();
    let decision = |outcome| Decision {
        at: Timestamp::now(),
        action: Action::Uncordon { node: node.clone() },
        reasons: vec![Reason::NoticeWithdrawn { node: node.clone() }],
        outcome,
    };
    let events = world.events(&cluster);
    for outcome in [Outcome::Done, Outcome::AlreadySo, Outcome::Done] {
        events.tell(&decision(outcome));
    }
    let of_nodes: Api<Event> = Api::namespaced(world.client.clone(), "default");
    world
        .until("one event that counts two", || async {
            let events = of_nodes.list(&ListParams::default()).await?.items;
            let about = |event: &&Event| {
                let regarding = event.regarding.as_ref();
                let ours = event.reporting_controller.as_deref()
                    == Some("spotscale.dev/spotscale-autoscaler");
                ours && regarding.and_then(|it| it.name.as_deref()) == Some(node.as_str())
            };
            let told: Vec<_> = events.iter().filter(about).collect();
            let count = |event: &Event| event.series.as_ref().map(|series| series.count);
            Ok(told.len() == 1 && count(told[0]) == Some(2))
        })
        .await;
}
