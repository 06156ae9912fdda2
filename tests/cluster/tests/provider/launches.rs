//! Pending pods get machines.

use serde_json::json;
use spotscale_test_cluster::{catalog::CapacityType, provider::State};

use crate::world::{World, on_demand, spot};

#[tokio::test]
async fn two_pods_share_the_cheapest_machine_and_its_objects_tell_of_it() {
    let world = World::new("launch", |_| {}).await;
    world.pool("on-demand", 1, CapacityType::OnDemand).await;
    let pool = world.pool("spot", 10, CapacityType::Spot).await;
    world.deploy(2).await;
    let pods = world.ready(2).await;
    let machines = world.machines();
    assert_eq!(machines.len(), 1, "{machines:#?}");
    let machine = &machines[0];
    assert_eq!((&machine.offering, &machine.pool), (&spot("us-east-1a"), &pool));
    assert_eq!(machine.state, State::Running);
    assert!(pods.iter().all(|pod| pod.machine == machine.node), "{pods:#?}");
    let node = world.nodes().get(&machine.node).await.unwrap();
    assert_eq!(node.spec.unwrap().provider_id.unwrap(), machine.provider_id());
    let labels = node.metadata.labels.unwrap();
    for (key, value) in [
        ("karpenter.sh/nodepool", pool.as_str()),
        ("karpenter.sh/capacity-type", "spot"),
        ("node.kubernetes.io/instance-type", "g4dn.xlarge"),
        ("topology.kubernetes.io/zone", "us-east-1a"),
    ] {
        assert_eq!(labels[key], value);
    }
    world
        .until("what the NodeClaim tells", || async {
            let status = world.claims().get(&machine.claim).await?.data["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            Ok(status["providerID"] == machine.provider_id().as_str()
                && status["nodeName"] == machine.node.as_str()
                && conditions
                    .iter()
                    .any(|one| one["type"] == "Initialized" && one["status"] == "True"))
        })
        .await;
}

#[tokio::test]
async fn overlays_stock_and_limits_change_where_the_next_machine_comes_from() {
    let world = World::new("steer", |_| {}).await;
    let spot_pool = world.pool("spot", 10, CapacityType::Spot).await;
    world.pool("on-demand", 1, CapacityType::OnDemand).await;
    world
        .apply(json!({
            "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay",
            "metadata": { "name": world.namespace },
            "spec": { "priceAdjustment": "+50%", "requirements": [
                { "key": "karpenter.sh/nodepool", "operator": "In", "values": [spot_pool] },
                { "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"] },
            ] },
        }))
        .await;
    world.deploy(1).await;
    world.ready(1).await;
    let offerings = || -> Vec<_> {
        world.provider.instances().into_iter().map(|machine| machine.offering).collect()
    };
    assert_eq!(offerings(), [spot("us-east-1b")], "the overlay makes the other zone dearer");
    world.provider.set_capacity(&spot("us-east-1b"), false);
    world.deploy(3).await;
    world.ready(3).await;
    assert_eq!(offerings(), [spot("us-east-1b"), spot("us-east-1a")]);
    let mut limited = world.provider.pool(&spot_pool, 10, CapacityType::Spot);
    limited["spec"]["limits"] = json!({ "cpu": "8" });
    world.apply(limited).await;
    world.deploy(5).await;
    world.ready(5).await;
    assert_eq!(offerings(), [spot("us-east-1b"), spot("us-east-1a"), on_demand("us-east-1a")]);
}
