//! How the roles are told to work together on one machine, in the words of their own flags and trigger metadata: what an
//! operator would write, and nothing that an operator could not.

use std::{collections::BTreeSet, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use spotscale_autoscaler as autoscaler;
use spotscale_decide::units::InstanceType;
use spotscale_scaler::{
    front::{self, Listed},
    keda as scaler,
};

use super::{
    calibrate::Machine,
    cluster::{Program, Serving, Settings},
    config::Config,
    keda::ScaledObject,
    view::Addresses,
};

/// The service's name in metrics, in the trigger and in the names of pods.
const SERVICE: &str = "classifier";
/// Each replica has one thread, and gets one request at a time.
const CONCURRENCY: u32 = 1;
/// What the hold queue can take is what this machine answers in so much time, and enough for a burst from zero.
const HOLD: Duration = Duration::from_secs(10);
const HOLD_REQUESTS_MIN: f64 = 128.0;
/// More nodes than replicas: a replacement comes before what it replaces has gone.
const NODES_MORE: usize = 3;
const STARTUP_MAX: Duration = Duration::from_mins(1);

/// The front, reporting to our scaler.
pub(super) fn front(
    machine: &Machine,
    addresses: Addresses,
    drain_timeout: Duration,
) -> Result<front::Config, clap::Error> {
    let hold = machine.capacity.images_per_second * HOLD.as_secs_f64();
    from_flags(&[
        ("listen", addresses.front.to_string()),
        ("service", SERVICE.to_owned()),
        ("scaler", format!("http://{}", addresses.scaler)),
        ("concurrency", CONCURRENCY.to_string()),
        // Classifying a picture twice gives the same answer twice.
        ("idempotent-path", "/v1/,/v2/".to_owned()),
        ("hold-requests", format!("{:.0}", hold.max(HOLD_REQUESTS_MIN))),
        ("cold-start", "5s".to_owned()),
        ("probe-interval", "100ms".to_owned()),
        ("drain-timeout", format!("{}ms", drain_timeout.as_millis())),
    ])
}

/// The scaler.
pub(super) fn scaler(addresses: Addresses) -> Result<scaler::Config, clap::Error> {
    from_flags(&[("listen", addresses.scaler.to_string()), ("drain-timeout", "2s".to_owned())])
}

/// One replica: the inference server of this same program, on ports of its own choice.
pub(super) fn replica(config: &Config) -> std::io::Result<Program> {
    // It must have drained before its grace is over.
    let drain_timeout = config.pace.grace.0.mul_f64(0.8);
    let flags = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("grpc-listen", "127.0.0.1:0".to_owned()),
        ("model", format!("{SERVICE}={}", config.model.display())),
        ("device", "cpu".to_owned()),
        ("threads", "1".to_owned()),
        ("max-batch", CONCURRENCY.to_string()),
        ("drain-timeout", format!("{}ms", drain_timeout.as_millis())),
    ];
    let flags = flags.into_iter().map(|(name, value)| format!("--{name}={value}"));
    let role = ["inference", "--log-format=text", "--exit-with-stdin"].map(str::to_owned);
    Ok(Program {
        executable: std::env::current_exe()?,
        arguments: role.into_iter().chain(flags).collect(),
        logs: config.logs.clone(),
        startup_max: STARTUP_MAX,
    })
}

/// The autoscaler. It waits less than in a cloud, as nodes here come sooner; its decisions are the same.
pub(super) fn autoscaler(
    machine: &Machine,
    types: &BTreeSet<InstanceType>,
) -> Result<autoscaler::Config, clap::Error> {
    let rate = 1000.0 / machine.capacity.image_ms;
    let machines: Vec<String> = types.iter().map(|name| format!("{name}={rate:.3}")).collect();
    from_flags(&[
        ("machine", machines.join(",")),
        ("tick", "200ms".to_owned()),
        ("price-refresh", "5s".to_owned()),
        ("nodes-max", machine.capacity.max_replicas.to_string()),
        ("fallback-after", "20s".to_owned()),
        ("return-after", "30s".to_owned()),
        ("empty-after", "5s".to_owned()),
        ("launch-timeout", "60s".to_owned()),
        ("evict-margin", "1s".to_owned()),
        ("ask-again-after", "5s".to_owned()),
    ])
}

/// The local cluster.
pub(super) fn cluster(config: &Config, machine: &Machine) -> anyhow::Result<Settings> {
    Ok(Settings {
        workload: SERVICE.parse()?,
        provisioning: config.pace.provisioning.0,
        grace: config.pace.grace.0,
        nodes_max: machine.capacity.max_replicas as usize + NODES_MORE,
    })
}

/// The `ScaledObject` that KEDA's stand-in acts on.
pub(super) fn scaled_object(
    config: &Config,
    machine: &Machine,
    addresses: Addresses,
) -> ScaledObject {
    let seconds = |span: Duration| span.as_secs().max(1).to_string();
    let metadata = [
        ("scalerAddress", addresses.scaler.to_string()),
        ("service", SERVICE.to_owned()),
        ("maxReplicas", machine.capacity.max_replicas.to_string()),
        ("sloMs", config.slo_ms.to_string()),
        ("concurrency", CONCURRENCY.to_string()),
        ("serviceTimeMs", format!("{:.1}", machine.capacity.image_ms)),
        ("idleAfterSeconds", seconds(config.pace.idle_after.0)),
        ("shrinkWindowSeconds", seconds(config.pace.stabilisation.0)),
        ("coldStartSeconds", seconds(config.pace.provisioning.0 + Duration::from_secs(5))),
    ];
    ScaledObject {
        name: SERVICE.to_owned(),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        min_replicas: 0,
        max_replicas: machine.capacity.max_replicas,
        polling_interval: config.pace.polling_interval.0,
        cooldown: config.pace.cooldown.0,
        hpa_sync_period: config.pace.hpa_sync.0,
        down_stabilization: config.pace.stabilisation.0,
    }
}

/// A replica as the front knows it: it runs on the CPU.
pub(super) fn endpoint(Serving { address, is_leaving }: &Serving) -> Option<Listed> {
    let word = if *is_leaving { "leaving" } else { "" };
    format!("http://{address} tier=cpu {word}").parse().ok()
}

/// A role's configuration from its flags; those that are not named are at their defaults, or in the environment.
fn from_flags<C: Args + FromArgMatches>(flags: &[(&str, String)]) -> Result<C, clap::Error> {
    let words = flags.iter().map(|(name, value)| format!("--{name}={value}"));
    let command = C::augment_args(Command::new("up"));
    let matches: ArgMatches =
        command.try_get_matches_from(std::iter::once("up".to_owned()).chain(words))?;
    C::from_arg_matches(&matches)
}
