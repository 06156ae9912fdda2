//! What a poll yields, what an error says, and over how many connections.

use std::fs;

use crate::{
    keda::{Keda, METRIC, Measured, Trigger, until},
    reading::demand,
    scaler::{Front, Scaler},
};

#[tokio::test]
async fn a_poll_yields_one_value_under_the_hpas_name_and_the_activity() {
    let (keda, scaler) = (Keda::start(), Scaler::start(&[]).await);
    let front = Front::of(&scaler, vec![demand("resnet", 0, 0)]);
    let metadata = [("maxReplicas", "7")];
    let third = Trigger { index: 3, metadata: &metadata, ..Trigger::poll("resnet", &scaler.grpc) };
    let trigger = keda.open(third).await.unwrap();
    let metric = "s3-spotscale-desired-replicas";
    assert_eq!(keda.specs(&trigger).await.unwrap()[0].name, metric);
    let polled = |held, wanted: f64| {
        front.says(vec![demand("resnet", held, 0)]);
        let (keda, trigger) = (&keda, &trigger);
        until("the value", async move || {
            let answer = keda.poll(trigger, metric).await.ok()?;
            (answer.values[0].value == wanted).then_some(answer)
        })
    };
    for (held, value) in [(0, 0.0), (1_000_000, 7.0)] {
        let answer = polled(held, value).await;
        assert_eq!(answer.values, [Measured { name: metric.to_owned(), value }]);
        assert_eq!(answer.active, value > 0.0);
    }
}

#[tokio::test]
async fn a_metadata_error_reaches_kedas_error_and_log_with_its_key_and_range() {
    let (keda, scaler) = (Keda::start(), Scaler::start(&[]).await);
    for (name, key, value, allowed) in [
        ("range", "sloMs", "0", "from 1 to 3600000"),
        ("number", "maxReplicas", "many", "from 1 to 100000"),
        ("misspelt", "sloMS", "500", "did you mean sloMs?"),
        ("needs", "gpuQuery", "up", "--prometheus-url"),
    ] {
        let metadata = [(key, value)];
        let wrong = Trigger { metadata: &metadata, ..Trigger::poll(name, &scaler.grpc) };
        let trigger = keda.open(wrong).await.unwrap();
        let error = keda.poll(&trigger, METRIC).await.unwrap_err();
        assert!(error.contains("InvalidArgument"), "{error}");
        assert!(error.contains(key) && error.contains(allowed), "{error}");
        assert_eq!(keda.specs(&trigger).await, None);
        let logged = until("the refusal in KEDA's log", async || {
            let lines = keda.logged("error");
            let mut errors = lines.iter().filter(|line| line["name"] == name);
            errors.next_back().and_then(|line| line["error"].as_str()).map(str::to_owned)
        });
        let logged = logged.await;
        assert!(logged.contains(key) && logged.contains(allowed), "{logged}");
    }
}

#[tokio::test]
async fn an_unknown_demand_and_a_foreign_metric_are_errors_not_zeroes() {
    let (keda, scaler) = (Keda::start(), Scaler::start(&[]).await);
    let trigger = keda.open(Trigger::poll("silent", &scaler.grpc)).await.unwrap();
    let unknown = keda.poll(&trigger, METRIC).await.unwrap_err();
    assert!(unknown.contains("Unavailable") && unknown.contains("demand"), "{unknown}");
    let foreign = keda.poll(&trigger, "s0-queue").await.unwrap_err();
    assert!(foreign.contains("InvalidArgument") && foreign.contains(&METRIC[3..]), "{foreign}");
}

#[tokio::test]
async fn all_scaled_objects_share_one_connection_until_the_last_is_closed() {
    let (keda, scaler) = (Keda::start(), Scaler::start(&[]).await);
    let mut triggers = Vec::new();
    for n in 0..100 {
        let name = format!("service-{n}");
        let push = n % 2 == 0;
        let of = if push { Trigger::push } else { Trigger::poll };
        let trigger = keda.open(of(&name, &scaler.grpc)).await.unwrap();
        assert_eq!(keda.specs(&trigger).await.unwrap().len(), 1);
        if push {
            keda.run(&trigger).await;
        }
        triggers.push(trigger);
    }
    let streams = "spotscale_scaler_streams{method=\"StreamIsActive\"} 50\n";
    scaler.until_metric(streams).await;
    assert_eq!(connections(&scaler.grpc).len(), 1);
    for trigger in &triggers[1..] {
        keda.close(trigger).await;
    }
    assert_eq!(connections(&scaler.grpc).len(), 1);
    assert_eq!(keda.specs(&triggers[0]).await.unwrap().len(), 1);
    keda.close(&triggers[0]).await;
    until("no connection", async || (connections(&scaler.grpc).is_empty()).then_some(())).await;
}

#[tokio::test]
async fn x18_a_failing_trigger_harms_neither_its_neighbour_nor_the_connection() {
    let prometheus = "--prometheus-url=http://127.0.0.1:9";
    let (keda, scaler) = (Keda::start(), Scaler::start(&[prometheus]).await);
    let _front = Front::of(&scaler, vec![demand("resnet", 0, 4)]);
    let gpu = [("gpuQuery", "gpu")];
    let failing = Trigger { metadata: &gpu, ..Trigger::poll("resnet", &scaler.grpc) };
    let sound = Trigger { index: 1, ..Trigger::poll("resnet", &scaler.grpc) };
    let sound = keda.open(sound).await.unwrap();
    let metric = "s1-spotscale-desired-replicas";
    until("a first answer", async || keda.poll(&sound, metric).await.ok()).await;
    for _ in 0..50 {
        // What KEDA does at every error: it makes the scaler anew and asks once more.
        let trigger = keda.open(failing).await.unwrap();
        let error = keda.poll(&trigger, METRIC).await.unwrap_err();
        assert!(error.contains("Unavailable") && error.contains("gpu signal"), "{error}");
        keda.close(&trigger).await;
        assert_eq!(keda.poll(&sound, metric).await.unwrap().values[0].value, 4.0);
    }
    assert!(connections(&scaler.grpc).len() <= 2, "the front's, and one of KEDA");
    scaler.until_metric("spotscale_scaler_objects 2\n").await;
}

/// TCP connections to this IPv4 address, named by the clients' ends.
pub(crate) fn connections(address: &str) -> Vec<String> {
    const ESTABLISHED: &str = "01";
    let address: std::net::SocketAddrV4 = address.parse().unwrap();
    let host = u32::from_ne_bytes(address.ip().octets());
    let remote = format!("{host:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let open = rows.filter(|row| row.get(2) == Some(&remote.as_str()) && row[3] == ESTABLISHED);
    open.map(|row| row[1].to_owned()).collect()
}
