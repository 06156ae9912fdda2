//! What happens to replicas when a part is away.

use std::time::Duration;

use spotscale_test_cluster::TestCluster;

use crate::harness::{Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_that_is_killed_leaves_the_replicas_as_they_are_and_scales_again_when_it_is_back()
{
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "killed", &scaler, &Trigger::push(scaler.grpc)).await;
    demand.is(30, 0, 0);
    workload.until_seen("more than one", |now| now > 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scaler.kill().await;
    assert!(
        workload.changes_in(Duration::from_secs(6)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    scaler.restart().await;
    demand.is(0, 0, 3);
    workload.until(0).await;
}
