//! Spot placement scores: 1 to 10 for each zone, the higher the likelier a request is to be met there now.
//!
//! EC2 scores nothing well for fewer than three types, and lets an account ask only so many different questions a day.
//! So there is one question, the same for as long as the daemon runs, about all types together.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use spotscale_decide::units::{InstanceType, ZoneId};

use crate::call::CallError;

/// Fewer get a low score whatever the capacity is.
const TYPES_MIN: usize = 3;

/// The one question.
#[derive(Debug, Clone)]
pub(crate) struct PlacementScores {
    client: Client,
    region: String,
    types: Vec<String>,
}

impl PlacementScores {
    /// None where there are too few types to ask about.
    pub(crate) fn new(client: Client, region: &str, types: &[InstanceType]) -> Option<Self> {
        let mut types: Vec<String> = types.iter().map(ToString::to_string).collect();
        types.sort();
        types.dedup();
        let enough = types.len() >= TYPES_MIN;
        enough.then(|| Self { client, region: region.to_owned(), types })
    }

    /// The score of each zone that EC2 names.
    pub(crate) async fn scores(&self) -> Result<BTreeMap<ZoneId, u8>, CallError> {
        let call = self.client.get_spot_placement_scores();
        let call = call.set_instance_types(Some(self.types.clone())).target_capacity(1);
        let call = call.single_availability_zone(true).region_names(&self.region);
        let scores = call.into_paginator().items().send().try_collect().await;
        let scores = scores.map_err(|error| CallError::new("GetSpotPlacementScores", &error))?;
        if scores.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names = self.zone_names().await?;
        let by_name = scores.iter().filter_map(|entry| {
            let zone = names.get(entry.availability_zone_id()?)?;
            let score = u8::try_from(entry.score()?).ok()?;
            (1..=10).contains(&score).then(|| (zone.clone(), score))
        });
        Ok(by_name.collect())
    }

    /// Scores speak of zone ids, everything else of names.
    async fn zone_names(&self) -> Result<BTreeMap<String, ZoneId>, CallError> {
        let answer = self.client.describe_availability_zones().send().await;
        let answer = answer.map_err(|error| CallError::new("DescribeAvailabilityZones", &error))?;
        let named = answer
            .availability_zones()
            .iter()
            .filter_map(|zone| Some((zone.zone_id()?.to_owned(), zone.zone_name()?.parse().ok()?)));
        Ok(named.collect())
    }
}
