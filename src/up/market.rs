//! The prices of virtual nodes: a recorded or the bundled series, played from now on. A virtual node has the work of one
//! replica to do whatever its type; type and zone give it a price and the company of others that are taken away with it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use spotscale_autoscaler::{FileMarket, Market as _, Playback, TypesSince};
use spotscale_decide::units::InstanceType;

use super::config::Config;

const BUNDLED: &str = include_str!("prices.csv");
/// A day of prices passes in four minutes, as the bundled scenario's day does.
const SPEED: u32 = 360;

/// The market, and the machine types that are for sale when it opens.
pub(super) async fn open(config: &Config) -> anyhow::Result<(FileMarket, BTreeSet<InstanceType>)> {
    let now = Timestamp::now();
    let playback = Playback { starts_at: now, speed: SPEED };
    let market = match &config.prices {
        Some(path) => FileMarket::open(path, playback)?,
        None => FileMarket::parse(BUNDLED, playback)?,
    };
    let book = market.prices(now, &TypesSince::new()).await?;
    let types = book.offerings().map(|o| o.instance_type.clone()).collect();
    Ok((market, types))
}

#[cfg(test)]
mod tests {
    use spotscale_autoscaler::CapacityType;

    use super::*;

    #[tokio::test]
    async fn the_bundled_series_has_every_type_on_demand_and_as_spot_for_less() {
        let playback = Playback { starts_at: Timestamp::now(), speed: SPEED };
        let market = FileMarket::parse(BUNDLED, playback).unwrap();
        let book = market.prices(Timestamp::now(), &TypesSince::new()).await.unwrap();
        let price = |offering: &_| book.at(offering, Timestamp::now()).unwrap();
        let spot = book.offerings().filter(|o| o.capacity_type == CapacityType::Spot);
        let mut zones = 0;
        for offering in spot {
            let mut on_demand = offering.clone();
            on_demand.capacity_type = CapacityType::OnDemand;
            assert!(price(offering) < price(&on_demand), "{offering}");
            zones += 1;
        }
        assert!(zones > 1, "a node that is taken away needs somewhere else to come from");
    }
}
