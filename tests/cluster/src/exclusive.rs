//! What test programs that run beside each other must not share: ports and the addresses of pods.
//!
//! Each is claimed by a socket whose name the kernel gives to one process at a time, and lets go when that one ends,
//! however it does.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    ops::Range,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::Context as _;

/// Below those that the kernel gives to whoever asks for any (`net.ipv4.ip_local_port_range`): a server whose port is
/// told to others before it runs, or while it is away, must find it free.
const PORTS: Range<u16> = 20_000..32_000;
/// How many addresses of 10.244.0.0/16 one process has.
const BLOCK: u16 = 4096;

/// Ports that nobody listens on, for this process alone.
pub fn ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let start = fastrand::u16(PORTS);
    let all = (start..PORTS.end).chain(PORTS.start..start);
    let mut free = all.filter(|port| claim(&format!("port-{port}")) && is_free(*port));
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free.next().with_context(|| format!("none of {PORTS:?} is free"))?;
    }
    Ok(ports)
}

/// An address of 10.244.0.0/16 that no other process has. It is given anew only when all others were.
pub fn address() -> IpAddr {
    // Anywhere: what a program that has just ended had for its pods may take a moment to go.
    static FIRST: LazyLock<u16> = LazyLock::new(|| {
        let (start, count) = (fastrand::u16(..), u16::MAX / BLOCK + 1);
        let mut blocks = (0..count).map(|n| (start.wrapping_add(n) % count) * BLOCK);
        let free = blocks.find(|first| claim(&format!("address-{first}")));
        free.expect("sixteen test programs have all addresses")
    });
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = (*FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK).to_be_bytes();
    Ipv4Addr::new(10, 244, high, low).into()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Whether this process has it from now on to its end, and nobody had it before.
fn claim(name: &str) -> bool {
    let address = SocketAddr::from_abstract_name(format!("spotscale-test-{name}"));
    let listener = address.and_then(|address| UnixListener::bind_addr(&address));
    listener.map(|listener| Box::leak(Box::new(listener))).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, process::Command};

    use super::*;

    #[test]
    fn a_port_is_given_once_and_is_not_one_that_is_listened_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
        let ports: BTreeSet<u16> = ports::<50>().unwrap().into_iter().collect();
        assert_eq!(ports.len(), 50);
        let again = super::ports::<50>().unwrap();
        assert!(again.iter().all(|port| !ports.contains(port) && PORTS.contains(port)));
    }

    #[test]
    fn what_a_process_has_no_other_can_have() {
        const NAME: &str = "SPOTSCALE_TEST_CLAIM";
        if let Ok(name) = std::env::var(NAME) {
            assert!(claim(&name), "another has it");
            return;
        }
        let name = format!("of-{}", std::process::id());
        let other = |name: &str| {
            let mut other = Command::new(std::env::current_exe().unwrap());
            let test = "exclusive::tests::what_a_process_has_no_other_can_have";
            other.args([test, "--exact"]).env(NAME, name).output().unwrap().status.success()
        };
        assert!(other(&name) && other(&name), "it is free again when who had it has ended");
        assert!(claim(&name) && !claim(&name));
        assert!(!other(&name));
    }

    #[test]
    fn addresses_differ() {
        let addresses: BTreeSet<IpAddr> = (0..BLOCK / 2).map(|_| address()).collect();
        assert_eq!(addresses.len(), usize::from(BLOCK / 2));
    }
}
