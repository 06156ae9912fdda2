//! The world in memory: traffic, KEDA and the HPA, nodes and a spot market, driving [`spotscale_decide`] unchanged, so
//! that a claim about savings and latency can be run again by anyone.
//!
//! Every choice is the production code's: `admission` holds, forwards or refuses each request; `demand` and `replicas`
//! say how many replicas; `planner` says what is done with the nodes; `ledger` says what it cost. Ours is what is around
//! them:
//!
//! | part | what it does, and what it leaves out |
//! |---|---|
//! | `front` | one front for one service: the line, deadlines, slots, retries. Service times are lognormal, and as long with one request at a replica as with all slots taken. No network, no bytes |
//! | `scaler` | reports once a step where something changed; no GPU or price signal |
//! | [`keda`], [`hpa`] | their rules as read in KEDA 2.20 and Kubernetes; their calls take no time and never fail |
//! | `cluster` | pods and nodes; delays are within a fifth of what is configured. A provisioner that buys what its knobs say and gives back empty nodes; it never moves pods, and buys at once |
//! | [`availability`] | how much spot there is. What a series takes away gets its notice before; a node may also be taken by chance |
//! | `autoscaler` | the daemon's loop; what a plan says is done at once, and fails only for want of capacity |
//! | `bound` | what a clairvoyant would pay at the least: see `bound.rs` for what that means |
//!
//! Time goes by in steps of a second, or of five while nothing moves; requests come and end at moments of their own
//! within a step. So a reaction that takes milliseconds in production takes up to a second here. Nothing here reads a
//! file or a clock, and the same seed and inputs give the same [`Report`].
//!
//! Recordings are aligned by their beginnings: the first moment of each is the beginning of the simulation.

pub mod arrivals;
mod autoscaler;
pub mod availability;
mod bound;
mod cluster;
mod dice;
mod front;
pub mod generate;
mod histogram;
pub mod hpa;
pub mod keda;
mod moment;
pub mod read;
pub mod replay;
mod report;
mod scaler;
pub mod setup;
mod text;
mod world;

use spotscale_decide::{
    prices::PriceBook,
    units::{Millis, UnitError},
};

use self::world::World;
pub use self::{
    arrivals::Arrivals,
    availability::{Availability, Steps},
    moment::Moment,
    report::{LatencyFigures, MoneyFigures, NodeFigures, Report, RequestFigures},
    setup::Setup,
};

/// What happens to the world, whatever is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// What every offering costs, from the beginning of the simulation on.
    pub prices: PriceBook,
    /// How much spot capacity there is.
    pub availability: Availability,
    /// The requests.
    pub arrivals: Arrivals,
    /// What these are, in words: a line each.
    pub described: Vec<String>,
}

impl Inputs {
    /// Says what something is, in place of what was said of it before.
    pub fn describe(&mut self, what: &str, it_is: &str) {
        let prefix = format!("{what}: ");
        self.described.retain(|line| !line.starts_with(&prefix));
        self.described.push(format!("{prefix}{it_is}"));
    }
}

/// Runs one simulation. `told` hears how far it is, once a simulated day.
pub fn simulate(
    setup: &Setup,
    inputs: &Inputs,
    told: &mut dyn FnMut(Millis),
) -> Result<Report, UnitError> {
    let outcome = World::new(setup, inputs)?.run(told);
    let market = (&inputs.prices, &inputs.availability, &setup.planner.offers.machines[..]);
    let span = (setup.begins_at, setup.lasts);
    let slo = setup.service.policy.promise.slo;
    let bound = bound::bound(market, span, slo, inputs.arrivals.play(setup.seed));
    Ok(Report::of((setup, &inputs.described), &outcome, bound))
}
