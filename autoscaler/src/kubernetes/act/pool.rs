//! Steering Karpenter: the prices that it reckons with, and the order and the limits of its pools. What a pool may buy,
//! its requirements, is never touched.

use std::collections::BTreeMap;

use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_decide::{
    cluster::Offering,
    units::{PoolName, UsdPerHour},
};

use super::call::{self, failed};
use crate::{
    cluster::{Applied, ClusterError},
    kubernetes::{
        KubeCluster,
        kinds::{NodeOverlay, NodePool, Object},
        mapping,
        names::{CAPACITY_TYPE, INSTANCE_TYPE, LIMITS, MANAGED_BY, MANAGER, POOL, ZONE},
    },
};

/// Tells a price for our pools, or takes it back. The overlay is named after the offering and our nodes, so that it is one.
pub(super) async fn overlay(
    cluster: &KubeCluster,
    offering: &Offering,
    price: Option<UsdPerHour>,
) -> Result<Applied, ClusterError> {
    if !cluster.stores.overlays.is_known() {
        return Err(ClusterError::Refused("the cluster knows no NodeOverlay".to_owned()));
    }
    let overlays: Api<Object<NodeOverlay>> = Api::all(cluster.client.clone());
    let name = mapping::overlay_name(offering, cluster.settings.node_selector.selector());
    let Some(price) = price else {
        return match overlays.delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(Applied::Done),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Applied::AlreadySo),
            Err(error) => Err(failed(&error)),
        };
    };
    let pools: Vec<_> = cluster.pools().into_iter().map(|pool| pool.name).collect();
    let object = overlay_object(&name, offering, price, &pools);
    let params = PatchParams::apply(MANAGER).force();
    let applied = overlays.patch(&name, &params, &Patch::Apply(object)).await;
    applied.map(|_| Applied::Done).map_err(|error| failed(&error))
}

fn overlay_object(name: &str, offering: &Offering, price: UsdPerHour, pools: &[PoolName]) -> Value {
    let rule =
        |key: &str, values: &[String]| json!({ "key": key, "operator": "In", "values": values });
    let pools: Vec<_> = pools.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": { "name": name, "labels": { MANAGED_BY: MANAGER } },
        "spec": {
            "requirements": [
                rule(INSTANCE_TYPE, &[offering.instance_type.to_string()]),
                rule(ZONE, &[offering.zone.to_string()]),
                rule(CAPACITY_TYPE, &[offering.capacity_type.to_string()]),
                rule(POOL, &pools),
            ],
            "price": format!("{}.{:06}", price.0 / 1_000_000, price.0 % 1_000_000),
        },
    })
}

/// Sets the pool's weight, which is ours from then on: an applied manifest should not say it.
pub(super) async fn weigh(
    cluster: &KubeCluster,
    pool: &PoolName,
    weight: u32,
) -> Result<Applied, ClusterError> {
    let pools: Api<Object<NodePool>> = Api::all(cluster.client.clone());
    let change = |pool: &Object<NodePool>| {
        if pool.spec.replicas.is_some() {
            let refusal = format!("{} has a fixed size: it can have no weight", pool.name_any());
            return Err(ClusterError::Refused(refusal));
        }
        let is_so = pool.spec.weight == Some(weight);
        Ok((!is_so).then(|| json!({ "metadata": {}, "spec": { "weight": weight } })))
    };
    Ok(call::change(&pools, pool.as_str(), change).await?.into())
}

/// Limits the pool to nothing and keeps its own limits in an annotation, or gives them back exactly as they were.
pub(super) async fn close(
    cluster: &KubeCluster,
    pool: &PoolName,
    closed: bool,
) -> Result<Applied, ClusterError> {
    let pools: Api<Object<NodePool>> = Api::all(cluster.client.clone());
    let change = |pool: &Object<NodePool>| if closed { closing(pool) } else { Ok(opening(pool)) };
    Ok(call::change(&pools, pool.as_str(), change).await?.into())
}

fn closing(pool: &Object<NodePool>) -> Result<Option<Value>, ClusterError> {
    if pool.spec.replicas.is_some() {
        let refusal = format!("{} has a fixed size: it cannot be closed", pool.name_any());
        return Err(ClusterError::Refused(refusal));
    }
    if mapping::is_closed(pool) {
        return Ok(None);
    }
    let own = json!(pool.spec.limits).to_string();
    Ok(Some(json!({
        "metadata": { "annotations": { LIMITS: own } },
        "spec": { "limits": { "cpu": "0" } },
    })))
}

/// Only the limit that we set is put back: what somebody has changed beside it meanwhile stays.
fn opening(pool: &Object<NodePool>) -> Option<Value> {
    let own = pool.annotations().get(LIMITS)?;
    let own: Option<BTreeMap<String, Value>> = serde_json::from_str(own).unwrap_or_default();
    let mut patch = json!({ "metadata": { "annotations": { LIMITS: Value::Null } } });
    if mapping::is_closed(pool) {
        patch["spec"]["limits"] = match &own {
            None if pool.spec.limits.iter().flatten().count() == 1 => Value::Null,
            own => json!({ "cpu": own.as_ref().and_then(|own| own.get("cpu")) }),
        };
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use kube::core::Expression;

    use super::*;
    use crate::kubernetes::mapping::testing::object;

    fn pool(limits: &Value, annotation: Option<&str>) -> Object<NodePool> {
        let annotations = annotation.map(|text| json!({ LIMITS: text }));
        object(&json!({
            "metadata": { "name": "gpu", "annotations": annotations },
            "spec": { "limits": limits },
        }))
    }

    #[test]
    fn a_pool_that_is_closed_and_opened_is_as_it_was() {
        for (limits, back) in [
            (Value::Null, Value::Null),
            (json!({ "nvidia.com/gpu": 20 }), json!({ "cpu": null })),
            (json!({ "cpu": "100", "memory": "1Ti" }), json!({ "cpu": "100" })),
            (json!({ "cpu": 100 }), json!({ "cpu": 100 })),
        ] {
            let closing = closing(&pool(&limits, None)).unwrap().unwrap();
            assert_eq!(closing["spec"], json!({ "limits": { "cpu": "0" } }));
            let annotation = closing["metadata"]["annotations"][LIMITS].as_str();
            let mut closed = limits.clone();
            closed["cpu"] = "0".into();
            let closed = pool(&closed, annotation);
            assert_eq!(super::closing(&closed), Ok(None), "it is closed");
            let opening = opening(&closed).unwrap();
            assert_eq!(opening["spec"]["limits"], back, "{limits}");
            assert_eq!(opening["metadata"]["annotations"][LIMITS], Value::Null);
        }
        assert_eq!(opening(&pool(&json!({ "cpu": "0" }), None)), None, "not by us");
    }

    #[test]
    fn what_somebody_opened_meanwhile_is_left_as_it_is() {
        let opened = pool(&json!({ "cpu": "50" }), Some(r#"{"cpu":"100"}"#));
        assert_eq!(opening(&opened).unwrap().get("spec"), None);
    }

    #[test]
    fn an_overlay_is_named_after_its_offering_and_says_its_price_to_the_last_digit() {
        let offering = Offering {
            instance_type: "g4dn.xlarge".parse().unwrap(),
            zone: "us-east-1a".parse().unwrap(),
            capacity_type: "on-demand".parse().unwrap(),
        };
        let ours = Expression::Exists("spotscale.dev/pool".to_owned()).into();
        let name = mapping::overlay_name(&offering, &ours);
        assert_eq!(name, "spotscale-g4dn.xlarge-us-east-1a-on-demand-spotscale-dev-pool");
        let pools = ["gpu-spot".parse().unwrap()];
        let text = overlay_object(&name, &offering, UsdPerHour(1_050_070), &pools);
        assert_eq!(text["spec"]["price"], "1.050070");
        let read = mapping::overlay(&object(&text), &ours, &["gpu-spot"].into()).unwrap();
        assert_eq!((read.offering, read.price), (offering, UsdPerHour(1_050_070)));
    }
}
