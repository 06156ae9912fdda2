//! What may be spent, and what that forbids.
//!
//! A budget never stops what runs, and never keeps a node that is taken from being emptied. When it binds, nothing more
//! is bought: launches are refused, a provisioner's pools are closed. What is bought is dear or cheap, so on-demand
//! capacity that stands in for spot is the first that no longer fits. Nodes that are being emptied do not count against
//! the budget by the hour, so that their replacements may be bought for what they give back; for as long as both run,
//! more is spent. Once a month's budget is spent, what is bought may cost no more than what is given back for it.
//!
//! While it is not known what the month has cost so far, because the saved ledger could not be loaded yet, what we buy
//! ourselves is held as if the month's budget were spent; a provisioner's pools stay as they are, open or closed: one that
//! is closed for a moment stays closed for minutes, and a budget that is passed by minutes is not passed by much.
//!
//! A provisioner buys for all pods that wait at once, so it may pass the budget by what it buys in one go.

use serde::{Deserialize, Serialize};

use crate::{
    planner::Reason,
    units::{MicroUsd, Ratio, UsdPerHour},
};

/// What may be spent on nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// What all nodes together may cost by the hour; no limit where it does not say.
    pub per_hour: Option<UsdPerHour>,
    /// What may be spent in a calendar month, in UTC; no limit where it does not say.
    pub per_month: Option<MicroUsd>,
}

/// From this share of a budget on it is said to be near.
const NEAR: Ratio = Ratio::from_percent(80);

/// What a budget still allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What the nodes that stay cost by the hour, with all that was bought since.
    rate: UsdPerHour,
    /// What they may cost.
    rate_max: Option<UsdPerHour>,
    budget: Budget,
    /// None where it is not known.
    spent: Option<MicroUsd>,
}

impl Budget {
    /// What is allowed where nodes that stay cost `staying` by the hour, those that are being emptied `leaving`, and
    /// `spent` was spent this month, where that is known.
    pub fn allows(
        self,
        staying: UsdPerHour,
        leaving: UsdPerHour,
        spent: Option<MicroUsd>,
    ) -> Allowance {
        let is_left = |most| spent.is_some_and(|spent| spent < most);
        let used_up = self.per_month.is_some_and(|most| !is_left(most));
        let given_back = used_up.then(|| staying.saturating_add(leaving));
        let rate_max = self.per_hour.into_iter().chain(given_back).min();
        Allowance { rate: staying, rate_max, budget: self, spent }
    }
}

impl Allowance {
    /// Why something at this price may not be bought, if it may not.
    pub fn refusal(&self, price: UsdPerHour) -> Option<Reason> {
        let rate = self.rate.saturating_add(price);
        self.rate_max.filter(|most| rate > *most)?;
        Some(match (self.budget.per_hour, self.budget.per_month) {
            (Some(most), _) if rate > most => Reason::HourlyBudget { rate, most },
            (_, most) => {
                let most = most.unwrap_or_default();
                let spent = self.spent.map(|spent| Reason::MonthlyBudget { spent, most });
                spent.unwrap_or(Reason::SpendUnknown { most })
            }
        })
    }

    /// Takes note of what is bought.
    pub fn buy(&mut self, price: UsdPerHour) {
        self.rate = self.rate.saturating_add(price);
    }

    /// Which budgets are nearly used up, or may be.
    pub fn warnings(&self) -> Vec<Reason> {
        let near = |used: f64, most: f64| used >= most * NEAR.get();
        let (rate, spent) = (self.rate, self.spent);
        let hour = self.budget.per_hour.filter(|most| near(rate.0 as f64, most.0 as f64));
        let month = self.budget.per_month.and_then(|most| {
            let Some(spent) = spent else { return Some(Reason::SpendUnknown { most }) };
            let is_near = near(spent.0 as f64, most.0 as f64);
            is_near.then_some(Reason::MonthlyBudgetNear { spent, most })
        });
        let hour = hour.map(|most| Reason::HourlyBudgetNear { rate, most });
        hour.into_iter().chain(month).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_and_a_month_bind_and_replacements_cost_what_is_given_back() {
        let usd = |cents: u64| UsdPerHour(cents * 10_000);
        let budget = Budget { per_hour: Some(usd(100)), per_month: Some(MicroUsd(1000)) };
        let refused = |staying, leaving, spent, price| {
            let allowance = budget.allows(usd(staying), usd(leaving), Some(MicroUsd(spent)));
            allowance.refusal(usd(price)).map(|reason| reason.kind())
        };
        assert_eq!(refused(80, 0, 0, 20), None);
        assert_eq!(refused(80, 0, 0, 21), Some("hourly-budget"));
        assert_eq!(refused(80, 0, 1000, 20), Some("monthly-budget"));
        assert_eq!(refused(60, 20, 1000, 20), None, "what is given back");
        assert_eq!(refused(60, 20, 1000, 21), Some("monthly-budget"));
        assert_eq!(refused(60, 60, 1000, 41), Some("hourly-budget"));
        let none = Budget::default();
        assert_eq!(none.allows(usd(80), usd(0), Some(MicroUsd(9))).refusal(usd(1)), None);
        assert_eq!(none.allows(usd(80), usd(0), None).refusal(usd(1)), None);
    }

    #[test]
    fn what_is_not_known_may_be_all_of_it() {
        let budget = Budget { per_hour: None, per_month: Some(MicroUsd(1000)) };
        let allowance = budget.allows(UsdPerHour(60), UsdPerHour(20), None);
        let unknown = Reason::SpendUnknown { most: MicroUsd(1000) };
        assert_eq!(allowance.refusal(UsdPerHour(20)), None, "what is given back");
        assert_eq!(allowance.refusal(UsdPerHour(21)), Some(unknown.clone()));
        assert_eq!(allowance.warnings(), [unknown]);
    }

    #[test]
    fn it_is_said_before_it_binds() {
        let budget = Budget { per_hour: Some(UsdPerHour(10)), per_month: Some(MicroUsd(10)) };
        let kinds = |rate, spent| {
            let allowance = budget.allows(UsdPerHour(rate), UsdPerHour(0), Some(MicroUsd(spent)));
            allowance.warnings().iter().map(Reason::kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(7, 7), [""; 0]);
        assert_eq!(kinds(8, 7), ["hourly-budget-near"]);
        assert_eq!(kinds(8, 8), ["hourly-budget-near", "monthly-budget-near"]);
    }
}
