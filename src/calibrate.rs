//! `spotscale inference --calibrate`: what this machine can do for one model, measured through the server's own port with
//! the front's kind of load, and noted for the autoscaler.

pub(crate) mod picture;
pub(crate) mod sweep;
mod table;

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use spotscale_autoscaler::Calibration;
use spotscale_decide::units::{InstanceType, Span};
use spotscale_inference::{Config, run};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::{
    picture::{classify, picture},
    sweep::{Length, Round, sweep},
};
use crate::loopback;

/// Enough answers in a round for a 95th percentile.
const REQUESTS_MIN: usize = 100;
const READY_EVERY: Duration = Duration::from_millis(50);

/// What to measure, and where to note it.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Measures how many requests a second this machine answers instead of serving, notes it in this CSV file (other lines
    /// stay) and ends. The autoscaler takes it as its machines file.
    #[arg(long, value_name = "FILE", requires = "calibrate_as")]
    pub(crate) calibrate: Option<PathBuf>,

    /// With --calibrate: the machine's type, as the Node's label node.kubernetes.io/instance-type has it.
    #[arg(long, env = "SPOTSCALE_INSTANCE_TYPE", value_name = "TYPE")]
    calibrate_as: Option<InstanceType>,

    /// With --calibrate: 95 % of the requests are to be answered within this time.
    #[arg(long, default_value = "500ms", value_name = "SPAN")]
    calibrate_slo: Span,

    /// With --calibrate: how long each round lasts, at least; there are about ten.
    #[arg(long, default_value = "3s", value_name = "SPAN")]
    calibrate_round: Span,

    /// With --calibrate: pods on such a machine, each of which may use as much of it as this process may.
    #[arg(long, default_value = "1", value_name = "N")]
    calibrate_pods: NonZeroU32,

    /// With --calibrate: a picture to classify, or a folder whose first one is taken; a grey one when not given.
    #[arg(long, value_name = "PATH")]
    calibrate_picture: Option<PathBuf>,
}

/// Measures the first model and puts the result into `table`.
pub(crate) async fn main(mut config: Config, args: Args, table: PathBuf) -> anyhow::Result<()> {
    let instance_type = args.calibrate_as.clone().context("--calibrate-as: which type is it?")?;
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (config.listen, config.grpc_listen) = (loopback, loopback);
    config.models.truncate(1);
    config.validate()?;
    let model = config.models.first().context("--model: which one?")?;
    let model = format!("{}@{}", model.name, model.version);
    let (best, device) = measure(config, &args).await?;
    let pods = args.calibrate_pods;
    let row = Calibration {
        instance_type,
        pods_max: pods,
        requests_per_second: (best.requests_per_second * f64::from(pods.get())).try_into()?,
        slo_ms: args.calibrate_slo.millis().0,
        device,
        model,
        measured_at: Timestamp::now(),
    };
    table::put(&table, &row)?;
    let (callers, p95_ms) = (best.callers, best.p95.as_secs_f64() * 1000.0);
    let said = serde_json::json!({ "calibrated": row, "callers": callers, "p95_ms": p95_ms });
    writeln!(std::io::stdout(), "{said}").context("cannot write to standard output")
}

/// The best round of a server of our own, and what ran its model.
async fn measure(config: Config, args: &Args) -> anyhow::Result<(Round, String)> {
    let picture = picture(args.calibrate_picture.as_deref())?;
    let listeners = config.bind().await?;
    let address = listeners.addresses()?.http;
    let end = CancellationToken::new();
    let measured = async {
        until_ready(address).await;
        let call = async || classify(address, picture.clone()).await.map(|(answer, _)| answer);
        let length = Length { requests: REQUESTS_MIN, time: args.calibrate_round.0 };
        let found = sweep(args.calibrate_slo.0, length, call).await;
        let device = device(address).await;
        end.cancel();
        anyhow::Ok((found?, device?))
    };
    let (served, measured) = tokio::join!(
        async {
            let served = run(config, listeners, end.clone()).await;
            // Whoever still waits for it waits in vain.
            end.cancel();
            served
        },
        end.run_until_cancelled(measured)
    );
    served?;
    match measured.context("the server ended")?? {
        (Ok(best), device) => Ok((best, device)),
        (Err(one), _) => bail!(
            "even one request at a time takes {:?} (95th percentile), which is more than --calibrate-slo {}",
            one.p95,
            args.calibrate_slo
        ),
    }
}

async fn until_ready(address: SocketAddr) {
    while !matches!(loopback::get(address, "/readyz").await, Ok((status, _)) if status.is_success())
    {
        sleep(READY_EVERY).await;
    }
}

/// As the server's own metrics have it.
async fn device(address: SocketAddr) -> anyhow::Result<String> {
    let page = loopback::get(address, "/metrics").await?.1;
    let page = String::from_utf8_lossy(&page);
    let loaded = page.lines().find(|line| line.starts_with("spotscale_inference_model_load"));
    let device = loaded.and_then(|line| Some(line.split_once("device=\"")?.1.split_once('"')?.0));
    Ok(device.context("the server does not tell its device")?.to_owned())
}
