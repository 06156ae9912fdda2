//! Everything that runs in local mode, and the order in which it ends.

use std::{collections::BTreeSet, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use spotscale_autoscaler::{Daemon, FileMarket, States};
use spotscale_decide::units::InstanceType;
use spotscale_scaler::{front, keda as scaler};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::warn;

use super::{
    calibrate::Machine,
    cluster::{LocalCluster, Program},
    config::{Config, Listeners},
    console,
    faults::Stage,
    keda, metrics,
    observe::{Fixed, Observer},
    roles,
    view::{Addresses, View},
};

/// What requests may take to finish when local mode ends.
const DRAIN: Duration = Duration::from_secs(5);

type Outcome = anyhow::Result<()>;

/// What every part is started from.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) addresses: Addresses,
    pub(super) machine: Machine,
    pub(super) program: Program,
    pub(super) market: FileMarket,
    pub(super) types: BTreeSet<InstanceType>,
}

/// The running parts.
pub(super) struct Local {
    front: JoinHandle<Outcome>,
    front_end: CancellationToken,
    /// What must outlive the front, which may still hold requests.
    rest: Parts,
    grace: Duration,
}

impl Local {
    /// Starts every part, and returns with them what a scenario is played on. Nothing here waits.
    pub(super) fn start(plan: Plan, listeners: Listeners) -> anyhow::Result<(Self, Stage)> {
        let Plan { config, addresses, machine, program, market, types } = plan;
        let front_admin = listeners.front_admin.local_addr()?;
        let scaler_admin = listeners.scaler_admin.local_addr()?;
        let autoscaler_admin = listeners.autoscaler_admin.local_addr()?;
        let cluster = LocalCluster::new(roles::cluster(&config, &machine)?, program);
        let mut rest = Parts::default();

        let front_end = CancellationToken::new();
        let front_config = roles::front(&machine, addresses, DRAIN)?;
        let front_listeners =
            front::Listeners { service: listeners.front, admin: listeners.front_admin };
        let endpoints = rest.endpoints(&cluster);
        let front =
            front::run_with_endpoints(front_config, front_listeners, endpoints, front_end.clone());
        let front = tokio::spawn(async { front.await.context("the front") });

        let scaler_listeners = scaler::Listeners {
            grpc: listeners.scaler,
            health: listeners.scaler_health,
            admin: listeners.scaler_admin,
        };
        rest.scaler(roles::scaler(addresses)?, scaler_listeners);
        rest.keda(roles::scaled_object(&config, &machine, addresses), addresses, &cluster)?;
        rest.cluster(&cluster);
        let autoscaler = roles::autoscaler(&machine, &types)?;
        let autoscaler = Daemon::new(autoscaler, Arc::clone(&cluster) as _, Arc::new(market))?;
        let books = autoscaler.books();
        let autoscaler = rest.autoscaler(autoscaler, listeners.autoscaler_admin);

        let max_replicas = machine.capacity.max_replicas;
        let fixed = Fixed { weights: machine.weights, addresses, max_replicas };
        let (views, progress) = (watch::Sender::new(fixed.first_view()), watch::Sender::new(None));
        let stage = Stage {
            front: addresses.front,
            pictures: config.pictures.unwrap_or_default(),
            capacity: machine.capacity,
            slo_ms: config.slo_ms,
            faults: cluster.clone(),
            views: views.subscribe(),
            progress: progress.clone(),
        };
        let admins = vec![front_admin, scaler_admin, autoscaler_admin];
        rest.console(listeners.console, views.subscribe(), admins);
        let observer = Observer {
            cluster,
            autoscaler,
            books,
            progress: progress.subscribe(),
            front_admin,
            scaler_admin,
            fixed,
        };
        rest.observer(observer, views);
        Ok((Self { front, front_end, rest, grace: config.pace.grace.0 }, stage))
    }

    /// Resolves when a part ends though nobody asked it to.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            ended = &mut self.front => ended,
            Some(ended) = self.rest.tasks.join_next() => ended,
        };
        match ended {
            Ok(Ok(())) => anyhow!("a part of local mode ended by itself"),
            Ok(Err(error)) => error,
            Err(panic) => anyhow!("a part of local mode failed: {panic}"),
        }
    }

    /// Ends the front, and when that has answered what it had, the rest.
    pub(super) async fn stop(mut self) {
        self.front_end.cancel();
        if !self.front.is_finished() && timeout(DRAIN * 2, &mut self.front).await.is_err() {
            warn!("the front did not end in time");
        }
        self.rest.end.cancel();
        let all = async { while self.rest.tasks.join_next().await.is_some() {} };
        if timeout(self.grace + DRAIN, all).await.is_err() {
            warn!("some part did not end in time");
        }
        self.rest.tasks.shutdown().await;
    }
}

/// Parts that end together.
#[derive(Default)]
struct Parts {
    tasks: JoinSet<Outcome>,
    end: CancellationToken,
}

impl Parts {
    fn spawn<E>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        Result<(), E>: Context<(), E>,
    {
        self.tasks.spawn(async move { part.await.context(name) });
    }

    fn spawn_endless(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async {
            part.await;
            Ok(())
        });
    }

    fn scaler(&mut self, config: scaler::Config, listeners: scaler::Listeners) {
        self.spawn("the scaler", scaler::run(config, listeners, self.end.clone()));
    }

    fn keda(
        &mut self,
        object: keda::ScaledObject,
        addresses: Addresses,
        cluster: &Arc<LocalCluster>,
    ) -> anyhow::Result<()> {
        let scaler = Channel::from_shared(format!("http://{}", addresses.scaler))?.connect_lazy();
        let run = keda::run(object, scaler, Arc::clone(cluster) as _, self.end.clone());
        self.spawn_endless(run);
        Ok(())
    }

    fn cluster(&mut self, cluster: &Arc<LocalCluster>) {
        let run = Arc::clone(cluster).run(self.end.clone());
        self.spawn_endless(run);
    }

    fn autoscaler(&mut self, daemon: Daemon, admin: TcpListener) -> States {
        let states = daemon.states();
        let admin = metrics::serve(admin, daemon.router(), self.end.clone());
        self.spawn("the autoscaler's admin port", admin);
        self.spawn_endless(daemon.run(self.end.clone()));
        states
    }

    fn console(
        &mut self,
        listener: TcpListener,
        views: watch::Receiver<View>,
        roles: Vec<SocketAddr>,
    ) {
        let routes = console::router(views, self.end.clone()).merge(metrics::router(roles));
        self.spawn("the console", metrics::serve(listener, routes, self.end.clone()));
    }

    fn observer(&mut self, observer: Observer, views: watch::Sender<View>) {
        let run = observer.run(views, self.end.clone());
        self.spawn_endless(run);
    }

    /// The front's list of endpoints, kept as the cluster's.
    fn endpoints(&mut self, cluster: &Arc<LocalCluster>) -> watch::Receiver<Vec<front::Listed>> {
        let mut serving = cluster.endpoints();
        let (sender, endpoints) = watch::channel(Vec::new());
        let end = self.end.clone();
        self.tasks.spawn(async move {
            loop {
                let now = serving.borrow_and_update().clone();
                sender.send_replace(now.iter().filter_map(roles::endpoint).collect());
                if !matches!(end.run_until_cancelled(serving.changed()).await, Some(Ok(()))) {
                    return Ok(());
                }
            }
        });
        endpoints
    }
}
