//! How many requests a second something answers within a latency bound: rounds with more and more callers, each of which
//! sends one request after the other, as a front with so many slots does.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

/// More than any replica is sent at a time.
const CALLERS_MAX: u32 = 512;
/// A round with more callers that gains less than this has gained nothing.
const GAIN_MIN: f64 = 1.02;
/// After so many of them in a row, one of which may have been disturbed, the most there is has been found.
const FLAT_MAX: u32 = 2;
/// The bound is looked for until it is known to this share of itself.
const PRECISION: u32 = 8;

/// How long a round lasts: until it has had both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// Requests; the more, the better is a percentile known.
    pub(crate) requests: usize,
    /// Time.
    pub(crate) time: Duration,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was served.
    Served,
    /// It was turned away: there were too many.
    TooMany,
}

/// What a round has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) callers: u32,
    pub(crate) requests_per_second: f64,
    pub(crate) median: Duration,
    pub(crate) p95: Duration,
    /// Callers that were turned away, and stopped.
    pub(crate) refused: usize,
}

impl Round {
    fn is_within(&self, slo: Duration) -> bool {
        self.refused == 0 && self.p95 <= slo
    }
}

/// The best round of which 95 % of the requests were answered within `slo`; where none was, the error is the round of a
/// single caller.
pub(crate) async fn sweep<E>(
    slo: Duration,
    length: Length,
    call: impl AsyncFn() -> Result<Answer, E>,
) -> Result<Result<Round, Round>, E> {
    let mut best = round(1, length, &call).await?;
    if !best.is_within(slo) {
        return Ok(Err(best));
    }
    let (mut good, mut bad, mut flat) = (1, None, 0);
    while bad.is_none() && flat < FLAT_MAX && good < CALLERS_MAX {
        let next = round(good * 2, length, &call).await?;
        if !next.is_within(slo) {
            bad = Some(next.callers);
            continue;
        }
        good = next.callers;
        if next.requests_per_second >= best.requests_per_second * GAIN_MIN {
            (best, flat) = (next, 0);
        } else {
            flat += 1;
        }
    }
    let mut bad = bad.unwrap_or(good);
    while bad - good > (good / PRECISION).max(1) {
        let next = round(u32::midpoint(good, bad), length, &call).await?;
        if next.is_within(slo) {
            good = next.callers;
            best = if next.requests_per_second > best.requests_per_second { next } else { best };
        } else {
            bad = next.callers;
        }
    }
    Ok(Ok(best))
}

/// One round.
pub(crate) async fn round<E>(
    callers: u32,
    length: Length,
    call: &impl AsyncFn() -> Result<Answer, E>,
) -> Result<Round, E> {
    let start = Instant::now();
    let share = length.requests.div_ceil(callers as usize);
    let caller = async || {
        let (mut took, mut refused) = (Vec::new(), 0);
        while took.len() + refused < share || start.elapsed() < length.time {
            let sent = Instant::now();
            match call().await? {
                Answer::Served => took.push(sent.elapsed()),
                Answer::TooMany => {
                    refused += 1;
                    break;
                }
            }
        }
        Ok((took, refused))
    };
    let all = try_join_all((0..callers).map(|_| caller())).await?;
    let elapsed = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let refused = all.iter().map(|(_, refused)| refused).sum();
    let mut took: Vec<Duration> = all.into_iter().flat_map(|(took, _)| took).collect();
    took.sort();
    Ok(Round {
        callers,
        requests_per_second: took.len() as f64 / elapsed,
        median: quantile(&took, 0.5),
        p95: quantile(&took, 0.95),
        refused,
    })
}

/// Nearest rank; zero of nothing.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::{sync::Semaphore, time::sleep};

    use super::*;

    const LENGTH: Length = Length { requests: 100, time: Duration::from_secs(2) };
    const SERVICE: Duration = Duration::from_millis(10);

    /// Serves `slots` at a time and lets `queue` wait.
    async fn of_server(slots: usize, queue: usize, slo_ms: u64) -> Result<Round, Round> {
        let (free, places) = (Semaphore::new(slots), Semaphore::new(slots + queue));
        let call = async || {
            let Ok(_place) = places.try_acquire() else { return Ok(Answer::TooMany) };
            let _slot = free.acquire().await;
            sleep(SERVICE).await;
            Ok::<_, Infallible>(Answer::Served)
        };
        let Ok(found) = sweep(Duration::from_millis(slo_ms), LENGTH, call).await;
        found
    }

    fn is_about(found: f64, wanted: f64) -> bool {
        (found / wanted - 1.0).abs() < 0.05
    }

    #[tokio::test(start_paused = true)]
    async fn all_slots_are_found_and_no_more_callers_than_they_need() {
        for slots in [1, 3, 4, 100] {
            let found = of_server(slots, 1000, 1000).await.unwrap();
            assert!(
                is_about(found.requests_per_second, slots as f64 * 100.0),
                "{slots}: {found:?}"
            );
            assert!((found.callers as usize) < 2 * slots.max(2), "{slots}: {found:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_that_leaves_no_wait_is_kept() {
        let found = of_server(6, 1000, 11).await.unwrap();
        assert_eq!(found.callers, 6, "{found:?}");
        assert!(found.p95 <= Duration::from_millis(11), "{found:?}");
        let one = of_server(6, 1000, 9).await.unwrap_err();
        assert_eq!((one.callers, one.p95), (1, SERVICE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_turns_requests_away_is_not_within_any_bound() {
        let found = of_server(4, 1, 60_000).await.unwrap();
        assert!(found.callers <= 5 && found.refused == 0, "{found:?}");
    }

    #[tokio::test]
    async fn what_fails_ends_it() {
        let failed = sweep(SERVICE, LENGTH, async || Err::<Answer, _>("down")).await;
        assert_eq!(failed, Err("down"));
    }

    #[test]
    fn a_percentile_is_one_of_those_that_were_measured() {
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&hundred, 0.95), Duration::from_millis(95));
        assert_eq!(quantile(&hundred[..1], 0.95), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
