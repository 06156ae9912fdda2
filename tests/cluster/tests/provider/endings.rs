//! Machines end: wished, taken, or because nothing is on them.

use std::time::{Duration, Instant};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use spotscale_test_cluster::{
    catalog::CapacityType,
    cloud::metadata::ask,
    provider::{EndedBy, Instance, State},
};

use crate::world::{WHILE, World};

#[tokio::test]
async fn a_deleted_node_claim_waits_for_its_pods_and_those_for_their_budget() {
    let world = World::new("claim", |_| {}).await;
    world.pool("spot", 1, CapacityType::Spot).await;
    world.deploy(2).await;
    world.ready(2).await;
    let labels = json!({ "app": "web" });
    let budget = |allowed: u32| {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
            "spec": { "maxUnavailable": allowed, "selector": { "matchLabels": labels } },
        })
    };
    world.apply(budget(0)).await;
    assert_eq!(world.machines().len(), 1);
    let first = world.machines().remove(0);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.client.clone(), &world.namespace);
    world
        .until("the budget", || async {
            let status = budgets.get("web").await?.status.unwrap_or_default();
            Ok(status.expected_pods == 2 && status.disruptions_allowed == 0)
        })
        .await;
    world.claims().delete(&first.claim, &DeleteParams::default()).await.unwrap();
    world
        .until("the taint", || async {
            let spec = world.nodes().get(&first.node).await?.spec.unwrap_or_default();
            Ok(spec.taints.iter().flatten().any(|taint| taint.key == "karpenter.sh/disrupted"))
        })
        .await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(world.machines().len(), 1, "no pod may go, so the machine stays");
    world.apply(budget(1)).await;
    world.until_removed(&first).await;
    let pods = world.ready(2).await;
    assert!(pods.iter().all(|pod| pod.machine != first.node), "{pods:#?}");
    let state = world.provider.instance(&first.node).unwrap().state;
    assert!(matches!(state, State::Ended { by: EndedBy::Owner, .. }), "{state:?}");
}

#[tokio::test]
async fn an_interrupted_machine_is_gone_at_its_deadline_with_all_its_processes() {
    let world = World::new("interrupt", |_| {}).await;
    world.pool("spot", 1, CapacityType::Spot).await;
    world.deploy(2).await;
    let pods = world.ready(2).await;
    let machine = world.machines().remove(0);
    let (start, lead) = (Instant::now(), Duration::from_secs(3));
    let deadline = world.provider.interrupt(&machine.node, lead).await.unwrap();
    let is_alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let processes: Vec<u32> = pods.iter().flat_map(|pod| pod.pids.values().copied()).collect();
    while start.elapsed() + Duration::from_millis(500) < lead {
        let are_alive = processes.iter().all(is_alive);
        assert!(are_alive || start.elapsed() >= lead, "a process has ended before the deadline");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.until("the end", || async { Ok(!processes.iter().any(is_alive)) }).await;
    let ended = start.elapsed();
    // Kubernetes itself would have them ended after 40 s.
    assert!(ended >= lead && ended < lead + Duration::from_secs(25), "{ended:?}");
    world.until_removed(&machine).await;
    let State::Ended { by: EndedBy::Cloud, at } =
        world.provider.instance(&machine.node).unwrap().state
    else {
        panic!("{:?}", world.provider.instances());
    };
    assert!(at >= deadline, "{at} {deadline}");
}

#[tokio::test]
async fn a_machine_without_work_ends_and_so_does_one_whose_node_is_deleted() {
    let world =
        World::new("empty", |options| options.consolidate_after = Some(Duration::from_secs(1)))
            .await;
    world.pool("spot", 1, CapacityType::Spot).await;
    world.deploy(3).await;
    world.ready(3).await;
    assert_eq!(world.machines().len(), 2);
    let deleted = world.machines().remove(0);
    world.nodes().delete(&deleted.node, &DeleteParams::default()).await.unwrap();
    world.until_removed(&deleted).await;
    world
        .until("its processes' end", || async {
            Ok(world.provider.kubelet().pods().iter().all(|pod| pod.machine != deleted.node))
        })
        .await;
    world.deploy(0).await;
    world.until("no machine", || async { Ok(world.machines().is_empty()) }).await;
}

#[tokio::test]
async fn a_machine_learns_from_its_metadata_service_alone_what_comes() {
    let world = World::new("metadata", |options| options.metadata = true).await;
    world.pool("spot", 1, CapacityType::Spot).await;
    world.deploy(3).await;
    let pods = world.ready(3).await;
    let machines = world.machines();
    let endpoint = |machine: &Instance| {
        let pod = pods.iter().find(|pod| pod.machine == machine.node).unwrap();
        let path = format!("/proc/{}/environ", pod.pids["server"]);
        let environment = std::fs::read_to_string(path).unwrap();
        let mut variables = environment.split('\0').filter_map(|text| text.split_once('='));
        variables.find(|one| one.0 == "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap().1.to_owned()
    };
    let (first, second) = (endpoint(&machines[0]), endpoint(&machines[1]));
    assert_eq!(ask(&first, "meta-data/instance-id").await.unwrap(), machines[0].id);
    assert_eq!(ask(&second, "meta-data/instance-id").await.unwrap(), machines[1].id);
    let (action, rebalance) =
        ("meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance");
    assert!(ask(&first, action).await.is_err() && ask(&first, rebalance).await.is_err());
    world.provider.recommend_rebalance(&machines[0].node).await.unwrap();
    let lead = Duration::from_mins(1);
    let time = world.provider.interrupt(&machines[0].node, lead).await.unwrap();
    let told = ask(&first, action).await.unwrap();
    assert!(told.contains(&time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()), "{told}");
    assert!(ask(&first, rebalance).await.unwrap().contains("noticeTime"), "it stays told");
    assert!(ask(&second, action).await.is_err() && ask(&second, rebalance).await.is_err());
}
