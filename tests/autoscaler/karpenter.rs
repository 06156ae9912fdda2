//! What is done through Karpenter: its NodeClaims, NodePools and NodeOverlays, with their real definitions.

use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject},
};
use serde_json::json;
use spotscale_autoscaler::{Action, Applied, Cluster as _, Observation};
use spotscale_decide::units::{NodeName, PoolName, UsdPerHour};

use crate::{cluster::applied, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_given_back_by_its_claim() {
    let world = World::new("claims", 1).await;
    world.claim(0).await;
    let cluster = world.watch().await;
    let node: NodeName = world.machine(0).parse().unwrap();
    let terminate = Action::Terminate { node: node.clone() };
    world
        .until("the claim to be given back", || async {
            Ok(cluster.apply(&terminate).await? == Applied::Done)
        })
        .await;
    let refused =
        || async { Ok(cluster.apply(&terminate).await.is_err_and(|e| e.kind() == "refused")) };
    world.until("no claim to be left", refused).await;
    let unknown = Action::Terminate { node: "nobody".parse().unwrap() };
    assert_eq!(applied(&cluster, unknown).await, Applied::AlreadySo);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_steered_and_what_they_may_buy_is_never_touched() {
    let world = World::new("pools", 0).await;
    let limits = json!({ "nvidia.com/gpu": 20, "cpu": "100" });
    world.apply(world.pool(&world.namespace, &json!({ "limits": limits }))).await;
    let fixed = format!("{}-fixed", world.namespace);
    world.apply(world.pool(&fixed, &json!({ "replicas": 0 }))).await;
    let cluster = world.watch().await;
    let resource =
        ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("karpenter.sh", "v1", "NodePool"));
    let pools: Api<DynamicObject> = Api::all_with(world.client.clone(), &resource);
    let before = pools.get(&world.namespace).await.unwrap().data["spec"].clone();
    let pool: PoolName = world.namespace.parse().unwrap();
    let provisioner = |seen: &Observation| seen.provisioner.clone().unwrap();
    let of_ours =
        |seen: &Observation| provisioner(seen).pools.into_iter().find(|one| one.name == pool);
    world.seen(&cluster, "the pool", |seen| of_ours(seen).is_some()).await;

    let weigh = |weight| Action::Weigh { pool: pool.clone(), weight };
    assert_eq!(applied(&cluster, weigh(70)).await, Applied::Done);
    assert_eq!(applied(&cluster, weigh(70)).await, Applied::AlreadySo);
    world.seen(&cluster, "the weight", |seen| of_ours(seen).unwrap().weight == Some(70)).await;
    let close = |closed| Action::Close { pool: pool.clone(), closed };
    assert_eq!(applied(&cluster, close(true)).await, Applied::Done);
    assert_eq!(applied(&cluster, close(true)).await, Applied::AlreadySo);
    world.seen(&cluster, "the closing", |seen| of_ours(seen).unwrap().closed).await;
    let closed = pools.get(&world.namespace).await.unwrap();
    assert_eq!(closed.data["spec"]["limits"], json!({ "nvidia.com/gpu": 20, "cpu": "0" }));
    assert_eq!(applied(&cluster, close(false)).await, Applied::Done);
    assert_eq!(applied(&cluster, close(false)).await, Applied::AlreadySo);
    let after = pools.get(&world.namespace).await.unwrap();
    let mut expected = before;
    expected["weight"] = 70.into();
    assert_eq!(after.data["spec"], expected);
    assert_eq!(after.annotations().len(), 0, "{:?}", after.annotations());
    for action in [
        Action::Weigh { pool: fixed.parse().unwrap(), weight: 1 },
        Action::Close { pool: fixed.parse().unwrap(), closed: true },
    ] {
        assert_eq!(cluster.apply(&action).await.unwrap_err().kind(), "refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_told_and_taken_back() {
    let world = World::new("prices", 1).await;
    world.apply(world.pool(&world.namespace, &json!({}))).await;
    let cluster = world.watch().await;
    let has_pool = |seen: &Observation| !seen.provisioner.clone().unwrap().pools.is_empty();
    let seen = world.seen(&cluster, "the pool", has_pool).await;
    let offering = seen.nodes[0].offering.clone();
    let overlay = |price| Action::Overlay { offering: offering.clone(), price };
    let told = |seen: &Observation| {
        let overlays = seen.provisioner.clone().unwrap().overlays.unwrap();
        overlays.into_iter().find(|told| told.offering == offering).map(|told| told.price)
    };
    for price in [UsdPerHour(201_000), UsdPerHour(305_000)] {
        assert_eq!(applied(&cluster, overlay(Some(price))).await, Applied::Done);
        world.seen(&cluster, "the price", |seen| told(seen) == Some(price)).await;
    }
    assert_eq!(applied(&cluster, overlay(None)).await, Applied::Done);
    assert_eq!(applied(&cluster, overlay(None)).await, Applied::AlreadySo);
    world.seen(&cluster, "no price", |seen| told(seen).is_none()).await;
}
