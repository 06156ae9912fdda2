//! What a kubelet does for one pod: starts its process, starts it anew after a crash (at once the first time, then after
//! growing waits), and ends it when told.

use std::{sync::Arc, time::Duration};

use spotscale_decide::units::PodName;
use tokio::{sync::mpsc, time::sleep};
use tracing::{info, warn};

use super::{LocalCluster, process::Process};

/// Between the pod's leaving the endpoint list and its SIGTERM, so that a request which was just given to it arrives.
const PRE_STOP: Duration = Duration::from_millis(200);
const RESTART_WAIT_FIRST: Duration = Duration::from_secs(1);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);

/// What a runner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// End in good order within this time.
    Stop(Duration),
    /// The machine is gone, and the pod with it.
    Kill,
    /// The process dies; the pod does not.
    Crash,
}

/// Runs one pod to its end, and reports each step to the cluster.
pub(super) async fn run(cluster: Arc<LocalCluster>, pod: PodName, mut told: mpsc::Receiver<Tell>) {
    let mut wait = Duration::ZERO;
    cluster.starting(&pod);
    while life(&cluster, &pod, &mut told).await == End::Crashed {
        // Down from now on, not from the end of the wait: nothing may be sent to it meanwhile.
        cluster.starting(&pod);
        tokio::select! {
            () = sleep(wait) => {}
            Some(Tell::Stop(_) | Tell::Kill) = told.recv() => break,
        }
        wait = (wait * 2).clamp(RESTART_WAIT_FIRST, RESTART_WAIT_MAX);
    }
    cluster.gone(&pod);
}

/// How one life of the process ended.
#[derive(PartialEq, Eq)]
enum End {
    Crashed,
    AsTold,
}

/// One life of the process, from its start to its end.
async fn life(cluster: &LocalCluster, pod: &PodName, told: &mut mpsc::Receiver<Tell>) -> End {
    let started = tokio::select! {
        started = Process::start(cluster.program(), pod.as_str()) => started,
        told = ending(told) => {
            info!(%pod, ?told, "told to end before it was ready");
            return End::AsTold;
        }
    };
    let mut process = match started {
        Ok(process) => process,
        Err(error) => {
            warn!(%pod, %error, "did not start");
            return End::Crashed;
        }
    };
    cluster.ready(pod, process.address);
    loop {
        tokio::select! {
            status = process.ended() => {
                warn!(%pod, ?status, "ended without being told: {}", process.last_words());
                return End::Crashed;
            }
            order = told.recv() => match order {
                Some(Tell::Crash) => process.kill(),
                Some(Tell::Stop(grace)) => {
                    stop(cluster, pod, &mut process, grace, told).await;
                    return End::AsTold;
                }
                Some(Tell::Kill) | None => {
                    process.kill();
                    let _ = process.ended().await;
                    return End::AsTold;
                }
            },
        }
    }
}

/// Resolves when the pod is to end; a crash has nothing to hit yet.
async fn ending(told: &mut mpsc::Receiver<Tell>) -> Option<Tell> {
    loop {
        match told.recv().await {
            Some(Tell::Crash) => {}
            order => return order,
        }
    }
}

async fn stop(
    cluster: &LocalCluster,
    pod: &PodName,
    process: &mut Process,
    grace: Duration,
    told: &mut mpsc::Receiver<Tell>,
) {
    sleep(PRE_STOP.min(grace)).await;
    cluster.signalled(pod);
    tokio::select! {
        in_time = process.stop(grace.saturating_sub(PRE_STOP)) => if !in_time {
            warn!(%pod, "did not end within its grace, and was killed");
        },
        _ = ending(told) => {
            // Its machine went first.
        }
    }
    process.kill();
    let _ = process.ended().await;
}
