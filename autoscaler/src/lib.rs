//! The cost-aware autoscaler daemon: observe, decide, execute. It decides nothing itself (`spotscale_decide` does) and
//! touches the world only through two interfaces, [`Cluster`] and [`Market`].

mod accounts;
mod admin;
mod calibration;
mod cluster;
mod config;
mod daemon;
mod execute;
mod fates;
mod file_market;
mod focus;
mod gate;
mod inquiry;
mod intake;
mod job;
mod keeper;
pub mod kubernetes;
mod laps;
mod look;
mod market;
mod metrics;
mod notices;
mod queue;
mod quotes;
mod saved;
mod sheet;
mod state;
mod traffic;
mod vault;

pub use self::{
    accounts::{Books, SharedBooks},
    calibration::{Calibration, CalibrationError, CalibrationTable},
    cluster::{Applied, Cluster, ClusterError, News},
    config::{Config, ConfigError, duration},
    daemon::{Daemon, Tell},
    fates::{End, Fate, Fates, FatesError},
    file_market::{FileMarket, Playback, SeriesError},
    gate::{Alone, Gate},
    market::{Market, MarketError, Prior, TypesSince},
    notices::{
        Ending, Event, EventKind, NodeNotices, NoticeSource, QueueError, Receipt, Received,
        Unasked, Unwritten,
    },
    saved::Refused,
    sheet::WrongLine,
    state::{Decision, Outcome, Role, State, States},
    vault::{FileVault, Stored, Vault, VaultError, Version},
};
pub use spotscale_decide::{
    cluster::{
        CapacityType, CordonCause, EndedBy, Node, NodePhase, Notice, NoticeKind, Observation,
        Offering, Overlay, Pod, PodPhase, Pool, Provisioner, Workload,
    },
    ledger::{
        Baseline, Difference, FeedRow, LeftOnAdvice, LifeEnd, LifeLine, Reconciliation, SpendLine,
        Stretch, Totals,
    },
    planner::{Action, Assumption, Memory, Plan, Reason, Step},
    prices::{PriceBook, PriceChange},
};
