//! Where prices, capacity and requests come from: files, or the generated month for what no file is given for.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use spotscale_autoscaler::{Config, FileMarket, Market as _, Playback, PriceBook, TypesSince};
use spotscale_decide::units::{InstanceType, Millis, Span, ZoneId};
use spotscale_simulate::{
    Inputs, generate,
    read::{self, PRICES_HEADER, Wanted},
};

use super::flags::{Args, Place};
use crate::role;

/// What was read, and how long it is to be simulated.
pub(super) struct Read {
    pub(super) inputs: Inputs,
    pub(super) lasts: Millis,
}

pub(super) fn read(args: &Args, config: &Config) -> anyhow::Result<Read> {
    let (files, seed) = (&args.files, args.world.seed);
    let mut inputs = generate::month(files.requests_per_day, seed)?;
    if let Some(path) = &files.requests {
        let requests = read::requests(open(path)?);
        inputs.arrivals = requests.with_context(|| named("--requests", path))?;
        inputs.describe("requests", &shown(path));
    }
    if (files.requests_times - 1.0).abs() > f64::EPSILON {
        inputs.arrivals = inputs.arrivals.scaled(files.requests_times, seed);
        inputs.described.push(format!("requests: {} times as many", files.requests_times));
    }
    let lasts = args.world.lasts.map_or_else(|| inputs.arrivals.lasts(), Span::millis);
    if let Some(path) = &files.prices {
        inputs.prices = prices(path, args, config).with_context(|| named("--prices", path))?;
        inputs.describe("prices", &shown(path));
        inputs.availability = spotscale_simulate::Availability::default();
        inputs.describe("capacity", "never short but where a recording is named");
    }
    for place in &files.availability {
        capacity(place, args, lasts, &mut inputs)?;
    }
    for machine in &config.policy().offers.machines {
        let (kind, rate, pods) =
            (&machine.instance_type, machine.throughput.get(), machine.pods_max);
        inputs
            .described
            .push(format!("machine: {kind}, {rate} requests/s with {pods} to a machine"));
    }
    let unpriced = config
        .types()
        .into_iter()
        .find(|kind| !inputs.prices.offerings().any(|offering| &offering.instance_type == kind));
    match unpriced {
        Some(kind) => bail!("there is no price of {kind}: give --prices, or another --machine"),
        None => Ok(Read { inputs, lasts }),
    }
}

fn prices(path: &Path, args: &Args, config: &Config) -> anyhow::Result<PriceBook> {
    let begins_at = generate::BEGINS_AT;
    let mut input = open(path)?;
    if input.fill_buf()?.starts_with(PRICES_HEADER.as_bytes()) {
        let wanted = Wanted {
            types: config.types().into_iter().collect(),
            region: args.files.region.clone(),
            from: args.files.prices_from,
            begins_at,
        };
        return Ok(read::prices(input, &wanted)?);
    }
    if args.files.region.is_some() || args.files.prices_from.is_some() {
        bail!("--region and --prices-from choose from a catalog's changes, which this is not");
    }
    let market = FileMarket::open(path, Playback { starts_at: begins_at, speed: 1 })?;
    let mut book = PriceBook::default();
    role::block_on(async {
        book = market.prices(Timestamp::MAX, &TypesSince::new()).await?;
        Ok(())
    })?;
    Ok(book)
}

fn capacity(place: &Place, args: &Args, lasts: Millis, inputs: &mut Inputs) -> anyhow::Result<()> {
    let Place { instance_type, zone, file } = place;
    let recorded = read::capacity(open(file)?);
    let recorded = recorded.with_context(|| named("--availability", file))?;
    let whole = lasts.saturating_add(Millis::from_secs(3600));
    let steps = recorded.steps.times(args.files.availability_times);
    let steps = steps.repeated(recorded.lasts, whole);
    let sold: BTreeSet<(InstanceType, ZoneId)> = inputs
        .prices
        .offerings()
        .map(|offering| (offering.instance_type.clone(), offering.zone.clone()))
        .filter(|(kind, its)| its == zone && instance_type.as_ref().is_none_or(|it| it == kind))
        .collect();
    if sold.is_empty() {
        bail!("--availability {zone}: --prices has nothing of it");
    }
    for (kind, zone) in sold {
        inputs.availability.set(kind, zone, steps.clone());
    }
    inputs.described.push(format!("capacity in {zone}: {}", shown(file)));
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| path.display().to_string())?))
}

fn named(flag: &str, path: &Path) -> String {
    format!("{flag} {}", path.display())
}

/// The name of a file without where it lies: a report is shown to others.
fn shown(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
