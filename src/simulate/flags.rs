//! The flags of `spotscale simulate`. Those of the daemon are the daemon's own; the rest is the world around it.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr};

use jiff::Timestamp;
use spotscale_decide::{
    replicas,
    units::{InstanceType, Millis, Replicas, Span, ZoneId},
};
use spotscale_simulate::{
    Setup, generate,
    setup::{Delays, Scaling, Service, Spot, pools},
};

/// Eight requests at a time, as the chart gives a replica, in 200 ms: what the system that this one is held against
/// tells of its GPU.
pub(crate) const MACHINE_DEFAULT: &str = "g4dn.xlarge=40";

/// What is said of them all.
const HELP: &str = "Without files it is a generated month, and says so. Files are CSV or JSON, not packed; each begins at \
    the simulation's beginning, whatever its dates. Of the daemon's own flags those of the policy, of the baseline, \
    --machine and --price-refresh mean what they mean to `spotscale autoscaler`; the others change nothing here.";

/// What is simulated, and what is told of it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP)]
#[group(skip)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) config: spotscale_autoscaler::Config,
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) load: LoadFlags,
    #[command(flatten)]
    pub(super) world: WorldFlags,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the report as JSON to this file as well.
    #[arg(long)]
    pub(super) report: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Runs the planner again on a dump of /debug/plan: does the same plan result?
    Replay(ReplayArgs),
}

/// What is run again.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The dump.
    pub(super) dump: PathBuf,
    /// A flag of the policy as `spotscale autoscaler` spells it, such as --fallback-after=90s, changed from what was
    /// dumped. May be repeated.
    #[arg(long = "with", value_name = "FLAG=VALUE", allow_hyphen_values = true)]
    pub(super) with: Vec<String>,
    /// Print the comparison and the new plan as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Recordings.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Files {
    /// Prices: the CSV series that `spotscale autoscaler --market file:` plays, or changes observed in the catalog of
    /// skypilot-org (`observed_at_utc,instance_type,region,az_id,ondemand_usd_h,spot_usd_h`).
    #[arg(long, value_name = "FILE")]
    pub(super) prices: Option<PathBuf>,
    /// Of a price table with several regions, this one.
    #[arg(long, requires = "prices")]
    pub(super) region: Option<String>,
    /// Of a catalog's changes, those from this moment on.
    #[arg(long, requires = "prices")]
    pub(super) prices_from: Option<Timestamp>,
    /// Spot capacity of a zone as --prices calls it, of one machine type or of each: `[TYPE/]ZONE=FILE`. The file is a
    /// trace of skypilot-org/spot-traces (JSON), a list of events of uclasystem/bamboo (`milliseconds,add|remove,node`)
    /// or a CSV `seconds,machines`. A recording that is shorter than the simulation begins anew. May be repeated; zones
    /// that are not named are never short.
    #[arg(long, value_name = "ZONE=FILE", requires = "prices")]
    pub(super) availability: Vec<Place>,
    /// One machine in an availability recording stands for so many: of a recording that only tells whether one could be
    /// had, say how many.
    #[arg(long, default_value_t = 1)]
    pub(super) availability_times: u32,
    /// Requests: CSV with a column `seconds`, `gmt_create` (Alibaba's `GenAI` trace), `TIMESTAMP` (Azure's LLM traces) or
    /// `end_timestamp` and `duration` (Azure Functions 2021), or with counts a minute (Azure Functions 2019).
    #[arg(long, value_name = "FILE")]
    pub(super) requests: Option<PathBuf>,
    /// So many times as many requests, in the same shape.
    #[arg(long, default_value_t = 1.0)]
    pub(super) requests_times: f64,
    /// Requests of a working day in the generated month.
    #[arg(long, default_value_t = generate::REQUESTS_PER_DAY, conflicts_with = "requests")]
    pub(super) requests_per_day: f64,
}

/// The service and its promise.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct LoadFlags {
    /// 95 of 100 requests are to be answered within this (the trigger's `sloMs`).
    #[arg(long, default_value = "500ms")]
    slo: Span,
    /// Requests that a replica serves at a time.
    #[arg(long, default_value = "8")]
    concurrency: NonZeroU32,
    /// What a request takes; if not given, what the machine's throughput makes of it with all slots taken.
    #[arg(long)]
    service_time: Option<Span>,
    /// Fewest replicas.
    #[arg(long, default_value_t = 0)]
    min_replicas: u32,
    /// Most replicas.
    #[arg(long, default_value_t = 20)]
    max_replicas: u32,
    /// Zero replicas after nothing happened for this long (the trigger's `idleAfterSeconds`).
    #[arg(long, default_value = "10m")]
    idle_after: Span,
    /// Time from a request's arrival to its answer, at most: the front's --timeout.
    #[arg(long, default_value = "240s")]
    timeout: Span,
}

/// The world.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct WorldFlags {
    /// The seed of everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How long; if not given, for as long as requests come.
    #[arg(long = "for", value_name = "DURATION")]
    pub(super) lasts: Option<Span>,
    /// From buying a machine to a node that takes pods.
    #[arg(long, default_value = "120s")]
    boot: Span,
    /// From there to a ready replica on a node that has not run one.
    #[arg(long, default_value = "60s")]
    first_start: Span,
    /// Between a spot node's notice and its end.
    #[arg(long, default_value = "120s")]
    notice: Span,
    /// Between a rebalance recommendation and the notice; 0s for none.
    #[arg(long, default_value = "0s")]
    rebalance_lead: Span,
    /// How often a spot node is taken by chance, per hour, besides what --availability tells.
    #[arg(long, default_value_t = Spot::default().interruptions_per_hour)]
    taken_per_hour: f64,
    /// Let nothing be bought on demand.
    #[arg(long)]
    spot_only: bool,
}

/// A recording of capacity and where it is to apply.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) instance_type: Option<InstanceType>,
    pub(super) zone: ZoneId,
    pub(super) file: PathBuf,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not [TYPE/]ZONE=FILE");
        let (place, file) = text.split_once('=').ok_or_else(wrong)?;
        let (instance_type, zone) = match place.split_once('/') {
            Some((kind, zone)) => (Some(kind.parse().map_err(|_| wrong())?), zone),
            None => (None, place),
        };
        let zone = zone.parse().map_err(|_| wrong())?;
        if file.is_empty() {
            Err(wrong())
        } else {
            Ok(Self { instance_type, zone, file: file.into() })
        }
    }
}

impl Args {
    /// Checks what the flags say together.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        let above_zero = |flag, number: f64| {
            let fits = number.is_finite() && number > 0.0;
            if fits { Ok(()) } else { Err(anyhow::anyhow!("{flag} must be a number above zero")) }
        };
        above_zero("--requests-times", self.files.requests_times)?;
        above_zero("--requests-per-day", self.files.requests_per_day)?;
        let per_hour = self.world.taken_per_hour;
        if !per_hour.is_finite() || per_hour < 0.0 {
            anyhow::bail!("--taken-per-hour must be a number from 0 up");
        }
        Ok(self.policy().validate()?)
    }

    fn policy(&self) -> replicas::Policy {
        let load = &self.load;
        let mut policy = replicas::Policy {
            min: Replicas(load.min_replicas),
            max: Replicas(load.max_replicas),
            concurrency: load.concurrency,
            idle_after: load.idle_after.millis(),
            ..replicas::Policy::default()
        };
        policy.promise.slo = load.slo.millis();
        policy
    }

    /// What is simulated, for so long.
    pub(super) fn setup(
        &self,
        config: &spotscale_autoscaler::Config,
        lasts: Millis,
    ) -> anyhow::Result<Setup> {
        let (load, world) = (&self.load, &self.world);
        let planner = config.policy();
        let baseline = config.baseline(&planner.offers.machines);
        let baseline = baseline.ok_or(spotscale_autoscaler::ConfigError::NoMachine)?;
        Ok(Setup {
            seed: world.seed,
            begins_at: generate::BEGINS_AT,
            lasts,
            planner,
            baseline,
            price_refresh: Span(config.prices.refresh).millis(),
            service: Service {
                policy: self.policy(),
                mean: load.service_time.map(Span::millis),
                timeout: load.timeout.millis(),
                ..Service::default()
            },
            scaling: Scaling::chart(load.min_replicas, load.max_replicas),
            delays: Delays {
                boot: world.boot.millis(),
                first_start: world.first_start.millis(),
                ..Delays::default()
            },
            spot: Spot {
                notice: world.notice.millis(),
                rebalance_lead: world.rebalance_lead.millis(),
                interruptions_per_hour: world.taken_per_hour,
                ..Spot::default()
            },
            pools: pools(!world.spot_only)?,
        })
    }
}
