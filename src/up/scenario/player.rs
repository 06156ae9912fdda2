//! Plays a scenario against a running local mode. Open-loop: a request goes out when it is due,
//! whether or not earlier ones are answered, and its latency counts from then, so a slow service
//! cannot slow down its own test.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Event, Happening, Phase, Played, Recording, Sample, Scenario, Seen, Until,
    arrivals::schedule,
    client::Client,
    pictures::{self, Picture, PicturesError},
    recording::{self, ms},
};
use crate::up::{
    faults::Stage,
    view::{Progress, View},
};

const REQUESTS_MAX: f64 = 500_000.0;
const RATE_PER_SECOND_MAX: f64 = 5_000.0;

/// Why a scenario was not played to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    /// Load goes to this machine only.
    #[error("a scenario is played on loopback only, not against {0}")]
    NotLoopback(std::net::SocketAddr),
    /// Nothing to send.
    #[error(transparent)]
    Pictures(#[from] PicturesError),
    /// Too much for one run.
    #[error("the scenario asks for {asked:.0} {what}, more than {max:.0}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much.
        asked: f64,
        /// The bound.
        max: f64,
    },
    /// The front's address does not make a URL.
    #[error("no URL for the front: {0}")]
    Url(#[from] http::Error),
    /// A task of the player itself failed.
    #[error("the player failed: {0}")]
    Task(#[from] JoinError),
    /// Local mode was told to end.
    #[error("ended before the scenario did")]
    Cancelled,
}

/// Plays `scenario` to its end and returns what was observed.
pub(crate) async fn play(
    scenario: &Scenario,
    stage: &Stage,
    shutdown: &CancellationToken,
) -> Result<Recording, PlayError> {
    check_bounds(scenario, stage)?;
    let mut player = Player::new(scenario, stage)?;
    let started = Timestamp::now();
    let watching = CancellationToken::new();
    let _unwatch = watching.clone().drop_guard();
    let seen = tokio::spawn(watch_views(stage.views.clone(), player.origin, watching.clone()));
    let whole_play = async {
        let phases = player.phases().await;
        player.finish().await.map(|(samples, happenings)| (phases, samples, happenings))
    };
    let (phases, samples, happenings) = tokio::select! {
        done = whole_play => done?,
        () = shutdown.cancelled() => return Err(PlayError::Cancelled),
    };
    stage.progress.send_replace(None);
    watching.cancel();
    Ok(Recording {
        scenario: scenario.clone(),
        started,
        capacity: stage.capacity,
        slo_ms: stage.slo_ms,
        phases,
        samples,
        happenings,
        seen: seen.await?,
    })
}

struct Player<'a> {
    scenario: &'a Scenario,
    stage: &'a Stage,
    origin: Instant,
    client: Arc<Client>,
    pictures: Vec<Picture>,
    rng: fastrand::Rng,
    under_way: JoinSet<Sample>,
    done: Vec<Result<Sample, JoinError>>,
    mishaps: JoinSet<Happening>,
}

impl<'a> Player<'a> {
    fn new(scenario: &'a Scenario, stage: &'a Stage) -> Result<Self, PlayError> {
        Ok(Self {
            scenario,
            stage,
            origin: Instant::now(),
            client: Arc::new(Client::new(stage.front)?),
            pictures: pictures::load(&stage.pictures)?,
            rng: fastrand::Rng::with_seed(scenario.seed),
            under_way: JoinSet::new(),
            done: Vec::new(),
            mishaps: JoinSet::new(),
        })
    }

    async fn phases(&mut self) -> Vec<Played> {
        let scenario = self.scenario;
        let mut played = Vec::with_capacity(scenario.phases.len());
        for (index, phase) in scenario.phases.iter().enumerate() {
            played.push(self.phase(index, phase).await);
        }
        played
    }

    async fn phase(&mut self, index: usize, phase: &Phase) -> Played {
        let start = Instant::now();
        self.announce(phase);
        self.plan_mishaps(index, phase, start);
        let mut views = self.stage.views.clone();
        let load = self.load(index, phase, start);
        let reached = match phase.until {
            None => {
                load.await;
                true
            }
            Some(Until::ZeroReplicas) => tokio::select! {
                zero = views.wait_for(nothing_runs) => zero.is_ok(),
                () = load => false,
            },
        };
        Played {
            name: phase.name.clone(),
            start_ms: ms(start - self.origin),
            end_ms: ms(self.origin.elapsed()),
            refusals_expected: phase.refusals_expected,
            reached,
        }
    }

    fn announce(&self, phase: &Phase) {
        tracing::info!(phase = phase.name, load = phase.load, "the scenario moves on");
        self.stage.progress.send_replace(Some(Progress {
            name: self.scenario.name.clone(),
            phase: phase.name.clone(),
            elapsed_ms: self.origin.elapsed().as_millis() as u64,
            planned_ms: self.scenario.planned().as_millis() as u64,
        }));
    }

    fn plan_mishaps(&mut self, index: usize, phase: &Phase, start: Instant) {
        for event in phase.events.iter().cloned() {
            let faults = Arc::clone(&self.stage.faults);
            let origin = self.origin;
            self.mishaps.spawn(async move {
                sleep_until(start + Duration::from_secs_f64(event.at_seconds())).await;
                let at_ms = ms(origin.elapsed());
                let victim = match event {
                    Event::InterruptSpotNode { notice_seconds, .. } => {
                        faults.interrupt_spot_node(Duration::from_secs_f64(notice_seconds)).await
                    }
                    Event::KillReplica { .. } => faults.kill_replica().await,
                };
                tracing::info!(?event, ?victim, "a mishap");
                Happening { phase: index, at_ms, event, victim }
            });
        }
    }

    async fn load(&mut self, index: usize, phase: &Phase, start: Instant) {
        let per_second = phase.load * self.stage.capacity.images_per_second;
        let seed = self.rng.u64(..);
        for due in schedule(self.scenario.arrivals, per_second, phase.duration(), seed) {
            sleep_until(start + due).await;
            self.send(index, start + due);
            while let Some(done) = self.under_way.try_join_next() {
                self.done.push(done);
            }
        }
        sleep_until(start + phase.duration()).await;
    }

    fn send(&mut self, phase: usize, due: Instant) {
        let Some(picture) = self.rng.choice(&self.pictures).cloned() else { return };
        let (client, origin) = (Arc::clone(&self.client), self.origin);
        self.under_way.spawn(async move {
            let outcome = client.classify(picture, due).await;
            Sample { phase, due_ms: ms(due - origin), latency_ms: ms(due.elapsed()), outcome }
        });
    }

    /// Waits for what is under way; each request ends within its client's patience.
    async fn finish(mut self) -> Result<(Vec<Sample>, Vec<Happening>), JoinError> {
        while let Some(done) = self.under_way.join_next().await {
            self.done.push(done);
        }
        // A request that nobody can account for must not simply be missing from the count.
        let mut samples = self.done.into_iter().collect::<Result<Vec<_>, _>>()?;
        samples.sort_by(|a, b| a.due_ms.total_cmp(&b.due_ms));
        let mut happenings = Vec::new();
        while let Some(done) = self.mishaps.join_next().await {
            happenings.push(done?);
        }
        happenings.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        Ok((samples, happenings))
    }
}

fn check_bounds(scenario: &Scenario, stage: &Stage) -> Result<(), PlayError> {
    if !stage.front.ip().is_loopback() {
        return Err(PlayError::NotLoopback(stage.front));
    }
    let rate = |phase: &Phase| phase.load * stage.capacity.images_per_second;
    let peak = scenario.phases.iter().map(rate).fold(0.0, f64::max);
    let requests = scenario.phases.iter().map(|phase| rate(phase) * phase.seconds).sum();
    let bounds =
        [("requests per second", peak, RATE_PER_SECOND_MAX), ("requests", requests, REQUESTS_MAX)];
    match bounds.into_iter().find(|(_, asked, max)| asked > max) {
        Some((what, asked, max)) => Err(PlayError::TooMuch { what, asked, max }),
        None => Ok(()),
    }
}

fn nothing_runs(view: &View) -> bool {
    recording::alive(view) == 0 && view.desired_replicas == 0 && view.nodes.is_empty()
}

async fn watch_views(
    mut views: watch::Receiver<View>,
    origin: Instant,
    ended: CancellationToken,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let view = views.borrow_and_update().clone();
        seen.push(Seen { at_ms: ms(origin.elapsed()), view });
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return seen },
            () = ended.cancelled() => return seen,
        }
    }
}

#[cfg(test)]
#[path = "player_tests.rs"]
mod tests;
