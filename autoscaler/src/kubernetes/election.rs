//! Who acts: of all instances the one that holds the Lease.
//!
//! Clocks of two machines are never compared. The holder stops acting a fixed time after it *began* its last successful
//! renewal; another takes the Lease only when it has itself *seen* it unchanged for longer than that. Both are spans of
//! each one's own clock that never goes back. What is under way when the holder stops is given up: what the API server
//! has of it then has the rest of the lease to be done. (Ready-made elections compare the renewal's wall-clock time, written by
//! another machine, with their own: with clocks that differ, two would act.)

mod tenure;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::tenure::{Ours, Tenure};
use super::act::failed;
use crate::{cluster::ClusterError, gate::Gate};

/// The Lease, and who wants it.
#[derive(Debug, Clone)]
pub struct ElectionConfig {
    /// Where the Lease is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// This instance and no other, nor an earlier one of the same pod.
    pub identity: String,
    /// A Lease that was not renewed for so long may be taken.
    pub lease: Duration,
    /// Its holder acts for so long after a renewal. What it began, and the API server has not done yet, has the rest of
    /// `lease` to end.
    pub act_for: Duration,
    /// Time between two renewals, and at most between two looks of those who wait.
    pub renew_every: Duration,
}

/// This instance's part in the election.
#[derive(Debug)]
pub struct Election {
    ours: Ours,
    end: CancellationToken,
    tasks: TaskTracker,
}

struct Candidate {
    leases: Api<Lease>,
    config: ElectionConfig,
    seen: Option<Seen>,
    terms: u64,
    tenure: watch::Sender<Option<Tenure>>,
}

/// A state of the Lease, since when it is known, and for how long it holds from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: Option<String>,
    at: Instant,
    lasts: Duration,
}

/// What may be done with a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Renew,
    Take,
    Leave,
}

// === impl ElectionConfig ===

impl ElectionConfig {
    /// With times by which another acts at most 15 s after the holder has died.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease: Duration::from_secs(10),
            act_for: Duration::from_secs(6),
            renew_every: Duration::from_secs(2),
        }
    }
}

// === impl Election ===

impl Election {
    /// Runs for the Lease until [`Self::release`].
    pub fn start(client: Client, config: ElectionConfig) -> Self {
        let (tenure, ours) = watch::channel(None);
        let leases = Api::namespaced(client, &config.namespace);
        let candidate = Candidate { leases, config, seen: None, terms: 0, tenure };
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(candidate.run(end.clone()));
        tasks.close();
        Self { ours: Ours(ours), end, tasks }
    }

    /// Lets another lead at once. To be called when nothing is being done any more.
    pub async fn release(&self) {
        self.end.cancel();
        self.tasks.wait().await;
    }

    /// Waits until this instance leads.
    pub async fn won(&self) {
        self.ours.clone().won().await;
    }
}

#[async_trait]
impl Gate for Election {
    fn term(&self) -> Option<u64> {
        self.ours.now().map(|tenure| tenure.term)
    }

    async fn over(&self, term: u64) {
        self.ours.clone().over(term).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

// === impl Candidate ===

impl Candidate {
    async fn run(mut self, end: CancellationToken) {
        while end.run_until_cancelled(self.turn()).await.is_some() {}
        self.give_up().await;
    }

    /// One try, and the time until the next.
    async fn turn(&mut self) {
        let began = Instant::now();
        match timeout(self.config.renew_every, self.try_once()).await {
            Ok(Ok(true)) => self.hold(began),
            Ok(Ok(false)) => self.lose(),
            // What was had is kept until it runs out.
            Ok(Err(error)) => warn!(%error, "the lease was not renewed"),
            Err(_) => warn!("the lease was not renewed: no answer"),
        }
        sleep_until(self.next(began)).await;
    }

    /// When to try again: as soon as another's Lease may be taken, if that is before the next renewal would be due.
    fn next(&self, began: Instant) -> Instant {
        let free = self.seen.as_ref().map(|seen| seen.at + seen.lasts);
        let free = free.filter(|free| *free > Instant::now());
        let due = began + self.config.renew_every;
        free.map_or(due, |free| free.min(due))
    }

    fn hold(&mut self, began: Instant) {
        let before = self.tenure.borrow().filter(Tenure::lasts);
        if before.is_none() {
            self.terms += 1;
            info!(identity = self.config.identity, term = self.terms, "this instance leads");
        }
        let until = began + self.config.act_for;
        self.tenure.send_replace(Some(Tenure { term: self.terms, until }));
    }

    fn lose(&self) {
        if self.tenure.send_replace(None).is_some() {
            warn!(identity = self.config.identity, "another instance leads");
        }
    }

    /// Is the Lease ours now?
    async fn try_once(&mut self) -> Result<bool, ClusterError> {
        let name = self.config.name.clone();
        let Some(lease) = self.leases.get_opt(&name).await.map_err(|error| failed(&error))? else {
            let new = self.lease(None, Claim::Take);
            return written(self.leases.create(&PostParams::default(), &new).await);
        };
        let claim = self.claim(&lease, Instant::now());
        if claim == Claim::Leave {
            return Ok(false);
        }
        let ours = self.lease(Some(&lease), claim);
        written(self.leases.replace(&name, &PostParams::default(), &ours).await)
    }

    fn claim(&mut self, lease: &Lease, now: Instant) -> Claim {
        let version = lease.resource_version();
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let told = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        let lasts = told.map_or(self.config.lease, Duration::from_secs).max(self.config.lease);
        let seen = self.seen.take().filter(|seen| seen.version == version);
        let seen = self.seen.insert(seen.unwrap_or(Seen { version, at: now, lasts }));
        if holder == self.config.identity {
            Claim::Renew
        } else if holder.is_empty() || now.duration_since(seen.at) >= seen.lasts {
            Claim::Take
        } else {
            Claim::Leave
        }
    }

    /// The Lease as ours. It carries the version that it was made from, so that only one of two takes it.
    fn lease(&self, now: Option<&Lease>, claim: Claim) -> Lease {
        let before = now.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let moment = Some(MicroTime(Timestamp::now()));
        let transitions = before.lease_transitions.unwrap_or(0);
        let (acquire_time, lease_transitions) = match claim {
            Claim::Take => (moment.clone(), Some(transitions.saturating_add(1))),
            Claim::Renew | Claim::Leave => (before.acquire_time, Some(transitions)),
        };
        Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                resource_version: now.and_then(Lease::resource_version),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.identity.clone()),
                lease_duration_seconds: i32::try_from(self.config.lease.as_secs()).ok(),
                acquire_time,
                renew_time: moment,
                lease_transitions,
                ..LeaseSpec::default()
            }),
        }
    }

    /// Without an answer another waits, as after a crash.
    async fn give_up(&mut self) {
        let led = self.tenure.send_replace(None).is_some();
        if led && timeout(self.config.renew_every, self.free()).await.is_err() {
            warn!("the lease was not given up: no answer");
        }
    }

    async fn free(&self) {
        let name = &self.config.name;
        loop {
            let mut lease = match self.leases.get_opt(name).await {
                Ok(Some(lease)) => lease,
                Ok(None) => return,
                Err(error) => return warn!(%error, "the lease was not given up"),
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.config.identity) {
                return;
            }
            spec.holder_identity = Some(String::new());
            match written(self.leases.replace(name, &PostParams::default(), &lease).await) {
                Ok(true) => return,
                // A renewal of our own was under way.
                Ok(false) => {}
                Err(error) => return warn!(%error, "the lease was not given up"),
            }
        }
    }
}

/// Somebody else was faster where the API server speaks of a conflict.
fn written<T>(outcome: kube::Result<T>) -> Result<bool, ClusterError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Json, Router, http::StatusCode, routing::get};
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The candidate `a` for a Lease that is served so.
    fn candidate(api_server: Router) -> Candidate {
        Candidate {
            leases: Api::namespaced(Client::new(api_server, "own"), "own"),
            config: ElectionConfig::new("own", "lease", "a"),
            seen: None,
            terms: 0,
            tenure: watch::Sender::new(None),
        }
    }

    fn lease(holder: &str, version: u64) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "lease", "resourceVersion": version.to_string() },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 10 },
        })
    }

    #[tokio::test(start_paused = true)]
    async fn anothers_lease_is_taken_as_soon_as_it_may_be() {
        let (mut candidate, start) = (candidate(Router::new()), Instant::now());
        let of_another = |version| serde_json::from_value(lease("b", version)).unwrap();
        assert_eq!(candidate.claim(&of_another(1), start), Claim::Leave);
        assert_eq!(candidate.next(start), start + SECOND * 2);
        advance(SECOND * 9).await;
        let began = Instant::now();
        assert_eq!(candidate.claim(&of_another(1), began), Claim::Leave);
        assert_eq!(candidate.next(began), start + SECOND * 10);
        advance(SECOND).await;
        let began = Instant::now();
        assert_eq!(candidate.claim(&of_another(1), began), Claim::Take);
        assert_eq!(
            candidate.next(began),
            began + SECOND * 2,
            "where that fails, it is not at once"
        );
        assert_eq!(candidate.claim(&of_another(2), began), Claim::Leave, "it was renewed");
        advance(SECOND * 9).await;
        assert_eq!(candidate.next(Instant::now()), began + SECOND * 10);
    }

    #[tokio::test]
    async fn a_lease_is_given_up_though_a_renewal_was_under_way() {
        let held = Arc::new(Mutex::new(lease("a", 1)));
        let (reads, writes) = (Arc::clone(&held), Arc::clone(&held));
        let read = async move || {
            // The renewal is done between the first read and what is written then.
            Json(std::mem::replace(&mut *reads.lock().unwrap(), lease("a", 2)))
        };
        let write = async move |Json(new): Json<Value>| {
            let mut held = writes.lock().unwrap();
            if new["metadata"]["resourceVersion"] != held["metadata"]["resourceVersion"] {
                let conflict = json!({ "status": "Failure", "reason": "Conflict", "code": 409 });
                return (StatusCode::CONFLICT, Json(conflict));
            }
            *held = new;
            (StatusCode::OK, Json(held.clone()))
        };
        let path = "/apis/coordination.k8s.io/v1/namespaces/own/leases/lease";
        candidate(Router::new().route(path, get(read).put(write))).free().await;
        assert_eq!(held.lock().unwrap()["spec"]["holderIdentity"], "");
    }
}
