//! The cost-aware autoscaler daemon: observe, decide, execute. It decides nothing itself (`spotscale_decide` does) and
//! touches the world only through two interfaces, [`Cluster`] and [`Market`].

mod accounts;
mod admin;
mod cluster;
mod config;
mod daemon;
mod execute;
mod fates;
mod file_market;
mod gate;
mod intake;
mod job;
mod keeper;
pub mod kubernetes;
mod look;
mod market;
mod metrics;
mod notices;
mod queue;
mod quotes;
mod saved;
mod state;
mod vault;

pub use self::{
    cluster::{Applied, Cluster, ClusterError, News},
    config::{Config, ConfigError, duration},
    daemon::{Daemon, Tell},
    fates::{End, Fate, Fates, FatesError},
    file_market::{FileMarket, Playback, SeriesError},
    gate::{Alone, Gate},
    market::{Market, MarketError, Prior},
    notices::{
        Ending, Event, EventKind, NodeNotices, NoticeSource, QueueError, Receipt, Received, Unasked,
    },
    saved::Refused,
    state::{Decision, Outcome, Role, State},
    vault::{FileVault, Stored, Vault, VaultError, Version},
};
pub use spotscale_decide::{
    cluster::{
        CapacityType, CordonCause, EndedBy, Node, NodePhase, Notice, NoticeKind, Observation,
        Offering, Overlay, Pod, PodPhase, Pool, Provisioner, Workload,
    },
    ledger::Totals,
    planner::{Action, Assumption, Memory, Plan, Reason, Step},
    prices::{PriceBook, PriceChange},
};
