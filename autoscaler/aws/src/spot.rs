//! Spot prices: EC2's history of changes, page by page.
//!
//! EC2 answers a window of time with the changes within it and, of each offering, the last change before it: that is the
//! price in force when the window begins, and it is kept under its own date.

use aws_sdk_ec2::{
    Client,
    operation::describe_spot_price_history::builders::DescribeSpotPriceHistoryFluentBuilder as Question,
    primitives::DateTime,
    types::{InstanceType as Ec2Type, SpotPrice},
};
use jiff::Timestamp;
use spotscale_autoscaler::{CapacityType, Offering, PriceBook, PriceChange};
use spotscale_decide::units::{InstanceType, UsdPerHour};
use tracing::debug;

use crate::{call::CallError, instance_types::filters, metrics::Metrics};

const ACTION: &str = "DescribeSpotPriceHistory";

/// What to ask for.
#[derive(Debug, Clone)]
pub(crate) struct SpotHistory {
    pub(crate) client: Client,
    /// The product, in EC2's words.
    pub(crate) product: String,
}

/// Which types to ask about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of<'a> {
    /// These, which somebody has named as types of EC2's.
    Listed(&'a [InstanceType]),
    /// Whichever of these EC2 knows: a filter, unlike a list, is not refused over one that it does not.
    Filtered(&'a [InstanceType]),
}

/// Why an entry is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipped {
    /// It does not say what, where or when.
    Incomplete,
    /// Its price cannot be read.
    Price,
    /// Its price is nothing, and nothing is sold for nothing.
    Zero,
}

impl SpotHistory {
    /// Every change within a window, and what was in force when it began. What cannot be meant is counted and left out:
    /// one bad entry must not cost the others.
    pub(crate) async fn between(
        &self,
        of: Of<'_>,
        from: Timestamp,
        to: Timestamp,
        metrics: &Metrics,
    ) -> Result<Vec<(Offering, PriceChange)>, CallError> {
        if of.types().is_empty() {
            // EC2 would take it for a question about every type there is.
            return Ok(vec![]);
        }
        let mut entries = of
            .ask(self.client.describe_spot_price_history())
            .product_descriptions(&self.product)
            .start_time(DateTime::from_secs(from.as_second()))
            .end_time(DateTime::from_secs(to.as_second()))
            .into_paginator()
            .items()
            .send();
        let mut changes = vec![];
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| CallError::new(ACTION, &error))?;
            match read(&entry) {
                Ok(change) => changes.push(change),
                Err(skipped) => {
                    debug!(?entry, ?skipped, "a spot price is left out");
                    metrics.skipped(skipped.kind());
                }
            }
        }
        Ok(changes)
    }
}

fn read(entry: &SpotPrice) -> Result<(Offering, PriceChange), Skipped> {
    let offering = Offering {
        instance_type: name(entry.instance_type().map(Ec2Type::as_str))?,
        zone: name(entry.availability_zone())?,
        capacity_type: CapacityType::Spot,
    };
    let at = entry.timestamp().and_then(|time| Timestamp::new(time.secs(), 0).ok());
    let at = at.ok_or(Skipped::Incomplete)?;
    let text = entry.spot_price().ok_or(Skipped::Incomplete)?;
    let price = text.parse().map_err(|_| Skipped::Price)?;
    if price == UsdPerHour::ZERO {
        return Err(Skipped::Zero);
    }
    Ok((offering, PriceChange { at, price }))
}

fn name<T: std::str::FromStr>(text: Option<&str>) -> Result<T, Skipped> {
    text.and_then(|text| text.parse().ok()).ok_or(Skipped::Incomplete)
}

/// Without the changes that were over before a moment, and without types that are not kept.
pub(crate) fn forget(
    book: &PriceBook,
    before: Timestamp,
    is_kept: impl Fn(&InstanceType) -> bool,
) -> PriceBook {
    let kept = |offering: &Offering| {
        let changes = book.changes(offering);
        let first = changes.partition_point(|change| change.at <= before).saturating_sub(1);
        let offering = offering.clone();
        changes[first..].iter().map(move |change| (offering.clone(), *change)).collect::<Vec<_>>()
    };
    book.offerings().filter(|one| is_kept(&one.instance_type)).flat_map(kept).collect()
}

// === impl Of ===

impl<'a> Of<'a> {
    pub(crate) const fn types(self) -> &'a [InstanceType] {
        match self {
            Self::Listed(types) | Self::Filtered(types) => types,
        }
    }

    fn ask(self, question: Question) -> Question {
        match self {
            Self::Listed(types) => {
                let types = types.iter().map(|one| Ec2Type::from(one.as_str()));
                question.set_instance_types(Some(types.collect()))
            }
            Self::Filtered(types) => question.set_filters(Some(filters(types).collect())),
        }
    }
}

// === impl Skipped ===

impl Skipped {
    const fn kind(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Price => "price",
            Self::Zero => "zero",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(price: &str) -> SpotPrice {
        SpotPrice::builder()
            .instance_type(Ec2Type::from("g4dn.xlarge"))
            .availability_zone("us-east-1a")
            .timestamp(DateTime::from_secs(1000))
            .spot_price(price)
            .build()
    }

    #[test]
    fn a_price_is_read_exactly_or_left_out() {
        let price = |text| read(&entry(text)).map(|(_, change)| change.price.0);
        assert_eq!(price("0.213500"), Ok(213_500));
        assert_eq!(price("12.0000000"), Ok(12_000_000));
        for wrong in ["", "free", "-0.2", "1e-1", "0,2"] {
            assert_eq!(price(wrong), Err(Skipped::Price), "{wrong:?}");
        }
        // A ten-millionth of a dollar is nothing, too.
        for zero in ["0", "0.000000", "0.0000001"] {
            assert_eq!(price(zero), Err(Skipped::Zero), "{zero:?}");
        }
    }

    #[test]
    fn an_entry_that_does_not_say_what_where_or_when_is_left_out() {
        let mut no_zone = entry("0.2");
        no_zone.availability_zone = None;
        let mut no_type = entry("0.2");
        no_type.instance_type = None;
        let mut no_time = entry("0.2");
        no_time.timestamp = None;
        for broken in [no_zone, no_type, no_time] {
            assert_eq!(read(&broken), Err(Skipped::Incomplete));
        }
    }

    #[test]
    fn what_is_forgotten_leaves_the_price_in_force() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (offering, _) = read(&entry("0.2")).unwrap();
        let change = |second, price| PriceChange { at: at(second), price: UsdPerHour(price) };
        let changes = [change(0, 100), change(10, 200), change(20, 300)];
        let book: PriceBook =
            changes.map(|change| (offering.clone(), change)).into_iter().collect();
        let forget = |before| super::forget(&book, at(before), |_| true);
        assert_eq!(forget(15).changes(&offering), &changes[1..]);
        assert_eq!(forget(20).changes(&offering), &changes[2..]);
        assert_eq!(forget(-5), book);
        assert_eq!(forget(99).at(&offering, at(99)), Some(UsdPerHour(300)));
        assert_eq!(super::forget(&book, at(15), |_| false), PriceBook::default());
    }
}
