//! What the front costs: the same load on a null replica, directly and through the front, measured in one run.
//! Ends with an error when a target is missed. Replica, front and load generator share this machine's cores.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people to read and run"
)]

mod load;

use std::{convert::Infallible, net::SocketAddr, process::ExitCode, thread, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use load::{closed_loop, open_loop, percentile};
use spotscale_scaler::front;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SATURATION_RPS_MIN: f64 = 10_000.0;
const ADDED_P99_MAX: Duration = Duration::from_millis(2);
const SATURATION: Duration = Duration::from_secs(3);
const OPEN_RATE_RPS: u32 = 1000;
/// Short turns, one after the other, so that what else happens on the machine falls on both alike.
const OPEN_TURN: Duration = Duration::from_secs(1);
const OPEN_TURNS: usize = 6;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: front::Config,
}

fn main() -> ExitCode {
    let replica = start_replica();
    let front = start_front(replica);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let warm_up = Duration::from_millis(500);
        let _ = (closed_loop(replica, warm_up).await, closed_loop(front, warm_up).await);
        let direct_rps = closed_loop(replica, SATURATION).await;
        let front_rps = closed_loop(front, SATURATION).await;
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        for _ in 0..OPEN_TURNS {
            direct.extend(open_loop(replica, OPEN_RATE_RPS, OPEN_TURN).await);
            through.extend(open_loop(front, OPEN_RATE_RPS, OPEN_TURN).await);
        }
        direct.sort_unstable();
        through.sort_unstable();
        report((direct_rps, front_rps), &direct, &through)
    })
}

fn report(
    (direct_rps, front_rps): (f64, f64),
    direct: &[Duration],
    front: &[Duration],
) -> ExitCode {
    let ms = |latencies: &[Duration], q| percentile(latencies, q).as_secs_f64() * 1000.0;
    println!("{:<34}{:>12}{:>12}{:>10}", "", "direct", "front", "ratio");
    let row = |name: &str, a: f64, b: f64| println!("{name:<34}{a:>12.2}{b:>12.2}{:>10.2}", b / a);
    row("requests/s at saturation", direct_rps, front_rps);
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        row(&format!("{name} at {OPEN_RATE_RPS} requests/s, ms"), ms(direct, q), ms(front, q));
    }
    let added = percentile(front, 0.99).saturating_sub(percentile(direct, 0.99));
    let saturation_ok = front_rps >= SATURATION_RPS_MIN;
    let added_ok = added <= ADDED_P99_MAX;
    let verdict = |is_ok: bool| if is_ok { "ok" } else { "MISSED" };
    println!(
        "at least {SATURATION_RPS_MIN} requests/s: {front_rps:.0}: {}",
        verdict(saturation_ok)
    );
    println!("added p99 at most {ADDED_P99_MAX:?}: {added:?}: {}", verdict(added_ok));
    ExitCode::from(u8::from(!(saturation_ok && added_ok)))
}

/// Answers `ok` to everything, on a thread of its own.
fn start_replica() -> SocketAddr {
    let (runtime, listener) = listen();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let serving =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(null));
                tokio::spawn(serving);
            }
        });
    });
    address
}

async fn null(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// A front as it is shipped, but with room for the whole load, on a runtime of its own.
fn start_front(replica: SocketAddr) -> SocketAddr {
    let upstream = format!("http://{replica}");
    let own = ["front", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let flags = own.into_iter().chain(["--upstream", &upstream, "--concurrency", "1024"]);
    let config = Flags::parse_from(flags).config;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let source = runtime.block_on(front::Source::of(&config)).unwrap();
    let listeners = runtime.block_on(config.bind()).unwrap();
    let address = listeners.addresses().unwrap().service;
    thread::spawn(move || {
        runtime.block_on(front::run(config, source, listeners, CancellationToken::new())).unwrap();
    });
    address
}

fn listen() -> (tokio::runtime::Runtime, TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    (runtime, listener)
}
