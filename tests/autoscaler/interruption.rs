//! Requests flow while machines are taken away.

use std::time::Duration;

use crate::ground::{Ground, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn ground_stands() {
    let start = std::time::Instant::now();
    let ground = Ground::new("ground", Setup::default()).await;
    println!("ready {:?}", start.elapsed());
    let (_front, target) = ground.front().await;
    println!("front {:?}", start.elapsed());
    for clients in [4, 8, 16, 32] {
        println!("{clients}: {:.0}/s", target.capacity(clients, Duration::from_secs(4)).await);
    }
    let outcome = target.load(1000, 100.0).outcome().await;
    println!("{:?} {:?} {:?}", outcome.quantile(0.5), outcome.quantile(0.95), outcome.quantile(0.99));
    outcome.assert_none_lost();
    let node = ground.machines()[0].node.clone();
    let load = target.load(1000, 100.0);
    ground.provider.interrupt(&node, Duration::from_secs(3)).unwrap();
    let outcome = load.outcome().await;
    println!("lost {} {:?}", outcome.lost.len(), outcome.lost.first());
    println!("{:?} {:?} {:?}", outcome.quantile(0.5), outcome.quantile(0.95), outcome.quantile(0.99));
}
