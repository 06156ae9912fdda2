//! What may be spent, and what the spend is held against.

use clap::Args;
use serde::Serialize;
use spotscale_decide::{
    budget::Budget,
    units::{InstanceType, MicroUsd, UsdPerHour},
};

use super::ConfigError;

/// What may be spent. A budget never stops what runs, and keeps no node from being emptied: when it binds, nothing more
/// is bought.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct BudgetFlags {
    /// What all nodes together may cost, in US dollars per hour, such as 12.50; without it there is no such limit. Nodes
    /// that are being emptied do not count.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BUDGET_PER_HOUR", value_name = "USD")]
    pub budget_per_hour: Option<UsdPerHour>,

    /// What may be spent in a calendar month (UTC), in US dollars, refunds taken off; without it there is no such limit.
    /// Once it is spent, what is bought may cost no more than what is given back for it.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BUDGET_PER_MONTH", value_name = "USD")]
    pub budget_per_month: Option<MicroUsd>,
}

/// What the spend is held against: a fleet of one machine type, on demand, day and night.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct BaselineFlags {
    /// The machine type of the baseline fleet; the first of the table, else the first --machine, if not given.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BASELINE_TYPE")]
    pub baseline_type: Option<InstanceType>,

    /// How many; if not given, as many as the most pods that have served at once need, each since the first load that
    /// needed it.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BASELINE_NODES")]
    pub baseline_nodes: Option<u32>,
}

// === impl BudgetFlags ===

impl BudgetFlags {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.budget_per_hour == Some(UsdPerHour::ZERO) {
            return Err(ConfigError::Zero("budget-per-hour"));
        }
        if self.budget_per_month.is_some_and(|most| most <= MicroUsd::ZERO) {
            return Err(ConfigError::Zero("budget-per-month"));
        }
        Ok(())
    }

    pub(super) fn policy(&self) -> Budget {
        Budget { per_hour: self.budget_per_hour, per_month: self.budget_per_month }
    }
}
