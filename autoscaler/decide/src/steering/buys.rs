//! What a provisioner buys that keeps to its knobs: the model of Karpenter that steering is tried on in tests and in
//! simulations. No decision of ours reads it.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    cluster::{CapacityType, Offering, Overlay, Pool, Provisioner},
    planner::Action,
    units::{PoolName, UsdPerHour},
};

impl Provisioner {
    /// What it buys next of what is `for_sale` at true prices: pools by weight, spot before on demand within a pool, the
    /// lowest of the prices that it reckons with.
    pub fn buys<'a>(
        &'a self,
        for_sale: &[(&'a Offering, UsdPerHour)],
    ) -> Option<(&'a PoolName, &'a Offering)> {
        let mut pools: Vec<_> = self.pools.iter().filter(|pool| !pool.closed).collect();
        pools.sort_by_key(|pool| (Reverse(pool.weight), &pool.name));
        let overlays = self.overlays.iter().flatten();
        let told: BTreeMap<_, _> =
            overlays.map(|Overlay { offering, price }| (offering, *price)).collect();
        pools.into_iter().find_map(|pool| {
            let admitted = for_sale.iter().filter(|(offering, _)| pool.admits(offering));
            let reckoned =
                admitted.map(|(offering, price)| (*told.get(offering).unwrap_or(price), *offering));
            let (mut spot, on_demand): (Vec<_>, Vec<_>) =
                reckoned.partition(|(_, offering)| offering.capacity_type == CapacityType::Spot);
            let cheapest = on_demand.iter().min();
            spot.retain(|(price, _)| cheapest.is_none_or(|(bound, _)| price <= bound));
            let (_, best) = spot.iter().min().or(cheapest)?;
            Some((&pool.name, *best))
        })
    }

    /// Puts a knob where the action says. Is there such a knob?
    pub fn turn(&mut self, action: &Action) -> bool {
        match (action, &mut self.overlays) {
            (Action::Overlay { offering, price }, Some(overlays)) => {
                overlays.retain(|known| &known.offering != offering);
                overlays.extend(price.map(|price| Overlay { offering: offering.clone(), price }));
                true
            }
            (Action::Weigh { pool: name, weight }, _) => {
                self.pool(name).map(|pool| pool.weight = Some(*weight)).is_some()
            }
            (Action::Close { pool: name, closed }, _) => {
                self.pool(name).map(|pool| pool.closed = *closed).is_some()
            }
            _ => false,
        }
    }

    fn pool(&mut self, name: &PoolName) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| &pool.name == name)
    }
}
