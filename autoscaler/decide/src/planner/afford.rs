//! What the budget allows of what the rules would buy.

use std::collections::BTreeMap;

use super::{Action, Reason, draft::Draft};
use crate::{
    budget::Allowance,
    cluster::{Node, Offering, Pool, Provisioner},
    units::{PoolName, UsdPerHour},
};

impl<'a> Draft<'a> {
    /// Works out what may still be bought, and says when that is little.
    pub(super) fn heed_budget(&mut self) {
        let rate = |nodes: &mut dyn Iterator<Item = &Offering>| {
            let prices = nodes.filter_map(|offering| self.snapshot.prices.get(offering));
            UsdPerHour(prices.map(|price| price.0).fold(0, u64::saturating_add))
        };
        let unseen = self.unseen_launches().filter_map(|launch| match launch {
            Action::Launch { offering, .. } => Some(offering),
            _ => None,
        });
        let staying = rate(&mut self.usable.iter().map(|node| &node.offering).chain(unseen));
        let alive = self.seen().nodes.iter().filter(|node: &&Node| node.is_alive());
        let all = rate(&mut alive.map(|node| &node.offering));
        let leaving = all.saturating_sub(staying);
        let spent = self.snapshot.spent_this_month;
        let allowance = self.policy.budget.allows(staying, leaving, spent);
        self.plan.refused.extend(allowance.warnings());
        self.allowance = Some(allowance);
    }

    /// Why this may not be bought; else it counts as bought.
    pub(super) fn afford(&mut self, price: UsdPerHour) -> Result<(), Reason> {
        let Some(allowance) = &mut self.allowance else {
            return Ok(());
        };
        if let Some(reason) = allowance.refusal(price) {
            return Err(reason);
        }
        allowance.buy(price);
        Ok(())
    }

    /// The pools that may buy nothing: all of them where there are as many nodes as there may be, else those in which even
    /// the cheapest of what may be bought is too dear for the budget. One that is open is not closed because we do not know
    /// what was spent.
    pub(super) fn shut(&self, provisioner: &'a Provisioner) -> BTreeMap<&'a PoolName, Reason> {
        let cheapest = |pool: &Pool| {
            let may_be_bought = |it: &Offering| {
                pool.admits(it) && self.policy.offers.machine(&it.instance_type).is_some()
            };
            let admitted = self.snapshot.prices.iter().filter(|(it, _)| may_be_bought(it));
            admitted.map(|(_, price)| *price).min()
        };
        let full = self.node_limit();
        let refusal = |pool: &'a Pool| {
            if let Some(reason) = &full {
                return Some((&pool.name, reason.clone()));
            }
            let allowance: &Allowance = self.allowance.as_ref()?;
            let reason = allowance.refusal(cheapest(pool)?)?;
            let stays_open = matches!(reason, Reason::SpendUnknown { .. }) && !pool.closed;
            (!stays_open).then_some((&pool.name, reason))
        };
        provisioner.pools.iter().filter_map(refusal).collect()
    }
}
