//! The fronts' part: ten of them, each with the whole state of its services every second and at every change.

use std::time::{Duration, Instant};

use spotscale_proto::demand::{DemandReport, ServiceDemand, demand_client::DemandClient};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::name;

const FRONTS: usize = 10;

/// A woken service is served by a replica after this time.
const COLD_START: Duration = Duration::from_secs(1);

/// When each service was woken.
pub(crate) type Woken = Vec<Instant>;

/// All fronts.
pub(crate) struct Fronts {
    fronts: Vec<Front>,
    woken: Woken,
}

struct Front {
    id: String,
    sequence: u64,
    services: Vec<ServiceDemand>,
    reports: mpsc::Sender<DemandReport>,
}

impl Fronts {
    /// Starts them over one connection, with every service asleep.
    pub(crate) async fn start(services: usize, channel: Channel) -> anyhow::Result<Self> {
        let mut fronts = Vec::with_capacity(FRONTS);
        for index in 0..FRONTS {
            let (reports, receiver) = mpsc::channel(16);
            let mut client = DemandClient::new(channel.clone());
            tokio::spawn(async move { client.report(ReceiverStream::new(receiver)).await });
            let services = (index..services).step_by(FRONTS).map(asleep).collect();
            let mut front = Front { id: format!("front-{index}"), sequence: 0, services, reports };
            front.report().await?;
            fronts.push(front);
        }
        Ok(Self { fronts, woken: Vec::with_capacity(services) })
    }

    /// Wakes one service after the other, evenly over `lasts`; says when.
    pub(crate) async fn wake_each(mut self, lasts: Duration) -> anyhow::Result<Woken> {
        let services: usize = self.fronts.iter().map(|front| front.services.len()).sum();
        let pace = lasts / u32::try_from(services)?;
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = Instant::now();
        for index in 0..services {
            ticks.tick().await;
            if reported.elapsed() > Duration::from_secs(1) {
                reported = Instant::now();
                self.beat().await?;
            }
            let front = &mut self.fronts[index % FRONTS];
            let service = &mut front.services[index / FRONTS];
            (service.held, service.oldest_held_ms, service.arrivals_total) = (1, 1, 1);
            self.woken.push(Instant::now());
            front.report().await?;
        }
        Ok(self.woken)
    }

    /// Every front's heartbeat; what has waited long enough is being served.
    async fn beat(&mut self) -> anyhow::Result<()> {
        for (index, woken) in self.woken.iter().enumerate() {
            if woken.elapsed() > COLD_START {
                let service = &mut self.fronts[index % FRONTS].services[index / FRONTS];
                (service.held, service.in_flight, service.endpoints) = (0, 1, 1);
            }
        }
        for front in &mut self.fronts {
            front.report().await?;
        }
        Ok(())
    }
}

impl Front {
    async fn report(&mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        let (front, sequence, services) = (self.id.clone(), self.sequence, self.services.clone());
        let report = DemandReport { front, sequence, services, leaving: false };
        Ok(self.reports.send(report).await?)
    }
}

fn asleep(index: usize) -> ServiceDemand {
    ServiceDemand {
        service: format!("bench/{}", name(index)),
        concurrency_per_endpoint: 4,
        ..ServiceDemand::default()
    }
}
