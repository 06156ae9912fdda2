//! Probes: whether a container has started, is ready, lives.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{env::Env, process};

/// What is probed.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) container: Container,
    pub(super) ip: IpAddr,
    pub(super) pid: u32,
    pub(super) env: Env,
}

/// Results, and what they amount to.
#[derive(Debug)]
struct Tally {
    verdict: Option<bool>,
    last: bool,
    run: i32,
}

impl Tally {
    fn new(verdict: Option<bool>) -> Self {
        Self { verdict, last: false, run: 0 }
    }

    /// Takes a result, and returns the new verdict if this changes it.
    fn note(&mut self, passed: bool, probe: &Probe) -> Option<bool> {
        self.run = if passed == self.last { self.run + 1 } else { 1 };
        self.last = passed;
        let threshold = if passed { probe.success_threshold } else { probe.failure_threshold };
        let reached = self.run >= threshold.unwrap_or(if passed { 1 } else { 3 });
        let new = (reached && self.verdict != Some(passed)).then_some(passed)?;
        self.verdict = Some(new);
        Some(new)
    }
}

impl Target {
    /// Probes for ever, and calls `changed` at each new verdict until it returns false. `before`: the verdict before
    /// the first result, if there is one.
    pub(super) async fn follow(
        &self,
        probe: &Probe,
        before: Option<bool>,
        mut changed: impl FnMut(bool) -> bool,
    ) {
        sleep(seconds(probe.initial_delay_seconds, 0)).await;
        let mut ticks = interval(seconds(probe.period_seconds, 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tally = Tally::new(before);
        loop {
            ticks.tick().await;
            let limit = seconds(probe.timeout_seconds, 1);
            let result = timeout(limit, self.check(probe)).await;
            let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
            if let Err(error) = &result {
                tracing::debug!(container = self.container.name, %error, "a probe fails");
            }
            if tally.note(result.is_ok(), probe).is_some_and(|verdict| !changed(verdict)) {
                return;
            }
        }
    }

    /// One try.
    pub(super) async fn check(&self, probe: &Probe) -> anyhow::Result<()> {
        if let Some(get) = &probe.http_get {
            self.get(get).await
        } else if let Some(socket) = &probe.tcp_socket {
            TcpStream::connect((self.ip, self.port(&socket.port)?)).await?;
            Ok(())
        } else if let Some(grpc) = &probe.grpc {
            self.health(grpc.port, grpc.service.as_deref().unwrap_or_default()).await
        } else if let Some(exec) = &probe.exec {
            let command = exec.command.as_deref().unwrap_or_default();
            ensure!(process::exec(self.pid, command, &self.env).await?, "the command fails");
            Ok(())
        } else {
            bail!("a probe of nothing")
        }
    }

    /// An HTTP GET passes with any code from 200 to 399.
    pub(super) async fn get(&self, action: &HTTPGetAction) -> anyhow::Result<()> {
        ensure!(action.scheme.as_deref() != Some("HTTPS"), "HTTPS is not known here");
        let ip = self.ip.to_string();
        let host = action.host.as_deref().unwrap_or(&ip);
        let path = action.path.as_deref().unwrap_or("/");
        let uri = format!("http://{host}:{}{path}", self.port(&action.port)?);
        let mut request = hyper::Request::get(uri).header("user-agent", "kube-probe/1.36");
        for header in action.http_headers.iter().flatten() {
            request = request.header(&header.name, &header.value);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let status = client.request(request.body(Empty::<Bytes>::new())?).await?.status();
        ensure!(status.is_success() || status.is_redirection(), "{status}");
        Ok(())
    }

    async fn health(&self, port: i32, service: &str) -> anyhow::Result<()> {
        let endpoint = tonic::transport::Endpoint::new(format!("http://{}:{port}", self.ip))?;
        let mut client = HealthClient::new(endpoint.connect().await?);
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = client.check(request).await?.into_inner().status();
        ensure!(status == ServingStatus::Serving, "{status:?}");
        Ok(())
    }

    fn port(&self, port: &IntOrString) -> anyhow::Result<u16> {
        let number = match port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let ports = self.container.ports.iter().flatten();
                let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
                named.next().with_context(|| format!("no port has the name {name}"))?.container_port
            }
        };
        Ok(u16::try_from(number)?)
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.map_or(default, |value| value.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::GRPCAction;

    use super::*;

    #[tokio::test]
    async fn the_health_service_is_asked_for_the_service_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reporter, service) = tonic_health::server::health_reporter();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        let target =
            Target { container: Container::default(), ip: address.ip(), pid: 0, env: Env::new() };
        let probe = |service: &str| Probe {
            grpc: Some(GRPCAction {
                port: i32::from(address.port()),
                service: Some(service.to_owned()),
            }),
            ..Probe::default()
        };
        assert!(target.check(&probe("")).await.is_ok(), "the server as a whole");
        assert!(target.check(&probe("scaler")).await.is_err(), "it does not know that one");
        reporter.set_service_status("scaler", tonic_health::ServingStatus::Serving).await;
        assert!(target.check(&probe("scaler")).await.is_ok());
        reporter.set_service_status("scaler", tonic_health::ServingStatus::NotServing).await;
        assert!(target.check(&probe("scaler")).await.is_err());
    }

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let probe =
            Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut tally = Tally::new(Some(false));
        let mut note = |results: &[bool]| -> Vec<Option<bool>> {
            results.iter().map(|passed| tally.note(*passed, &probe)).collect()
        };
        assert_eq!(note(&[true, false, true]), [None, None, None], "not in a row");
        assert_eq!(note(&[true]), [Some(true)]);
        assert_eq!(note(&[false, false, true]), [None, None, None], "not in a row");
        assert_eq!(note(&[false, false, false, false]), [None, None, Some(false), None]);

        let mut open = Tally::new(None);
        let late = [false, false, false].map(|passed| open.note(passed, &probe));
        assert_eq!(late, [None, None, Some(false)], "no verdict is no failure");
    }
}
