//! The way back to spot.

use spotscale_test_cluster::{catalog::CapacityType, kubelet::Running};

use super::{BOOT, SCOPE};
use crate::ground::{Ground, daemon::Daemon, pace::Pace};

const FLAGS: [&str; 3] = ["--return-after=2s", "--return-steady=3s", "--return-every=8s"];

/// Scenario L.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_l_on_demand_goes_when_spot_has_been_ready_a_while_one_machine_a_window() {
    let ground = Ground::new("return", BOOT).await;
    ground.set_capacity(CapacityType::Spot, false);
    ground.sleepers(SCOPE, 2).await;
    let capacity = |pod: &Running| ground.machine_of(pod).offering.capacity_type;
    let pods = ground.slept(SCOPE, 2).await;
    assert!(pods.iter().all(|pod| capacity(pod) == CapacityType::OnDemand), "{pods:?}");
    ground.set_capacity(CapacityType::Spot, true);
    let daemon = Daemon::start(&ground, (SCOPE, "daemon"), &FLAGS, &[]).await;
    let is_back = || async {
        let pods = ground.of(SCOPE);
        let ready = pods.iter().filter(|pod| pod.ready).count();
        assert!(ready >= 2, "one was told to end before another was ready: {pods:?}");
        let spot = pods.iter().filter(|pod| capacity(pod) == CapacityType::Spot);
        Ok(pods.len() == 2 && spot.count() == 2)
    };
    ground.until("the pods to be on spot", is_back).await;
    let is_given_back = || async { Ok(ground.machines().len() == 2) };
    ground.until("on demand to be given back", is_given_back).await;
    assert_eq!(ground.provider.instances().len(), 4, "{:#?}", ground.provider.instances());
    Pace { swaps: 2, steady_seconds: 3.0, window_seconds: 8.0 }.assert_kept(&daemon.proxy);
}
