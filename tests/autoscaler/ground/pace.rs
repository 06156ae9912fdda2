//! How fast a daemon goes back to spot, by what it wrote.

use jiff::Timestamp;

use super::proxy::{Act, Proxy};

/// What was wished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Machines that were replaced, with a pod on each.
    pub(crate) swaps: usize,
    /// Between the request for another pod and the end of the old one, at least.
    pub(crate) steady_seconds: f64,
    /// Between the beginnings of two swaps, at least.
    pub(crate) window_seconds: f64,
}

impl Pace {
    /// That many machines were replaced, none sooner than wished.
    pub(crate) fn assert_kept(self, proxy: &Proxy) {
        let [cordons, surges, evictions] = [Act::Cordon, Act::Surge, Act::Evict].map(|act| {
            let done = proxy.writes().into_iter().filter(|write| write.act() == Some(act));
            done.map(|write| write.at).collect::<Vec<Timestamp>>()
        });
        let counts = [&cordons, &surges, &evictions].map(Vec::len);
        assert_eq!(counts, [self.swaps; 3], "{:?}", proxy.acts());
        let seconds = |one: &Timestamp, next: &Timestamp| next.duration_since(*one).as_secs_f64();
        let steady = surges.iter().zip(&evictions).map(|(one, next)| seconds(one, next));
        // A write is noted when it was answered, which may take a moment.
        let windows = cordons.windows(2).map(|pair| seconds(&pair[0], &pair[1]) + 1.0);
        assert!(
            steady.into_iter().all(|span| span >= self.steady_seconds),
            "{surges:?} {evictions:?}"
        );
        assert!(windows.into_iter().all(|span| span >= self.window_seconds), "{cordons:?}");
    }
}
