//! May this request be sent again? Only when that is provably safe, and within a budget, so that retries never become
//! the load that keeps a service down.

use std::sync::{Mutex, PoisonError};

use http::Method;
use tokio::time::Instant;

use super::{route::lies_below, upstream::Failure};

/// A request that reached an endpoint and got no answer is sent at most this many times more.
const RETRIES_MAX: u32 = 3;
/// Unused allowance is saved up for this long.
const SAVED_SECONDS: f64 = 10.0;

/// Why a failed request is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// The endpoint may have processed it, and nothing says that twice does no harm.
    #[error("it may have been processed, and is not declared idempotent")]
    NotIdempotent,
    /// More of its body has been sent than was kept.
    #[error("its body is too large to be sent again")]
    BodyNotKept,
    /// Too many retries for the requests that arrive.
    #[error("the retry budget is spent")]
    BudgetSpent,
    /// This request has been tried often enough.
    #[error("it has failed too often")]
    TooOften,
}

/// What a retry depends on, besides the failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) is_idempotent: bool,
    pub(super) is_replayable: bool,
    pub(super) retries: u32,
    pub(super) now: Instant,
}

/// A token bucket: a share of the arriving requests, and a few per second besides.
#[derive(Debug)]
pub(super) struct Budget {
    ratio: f64,
    per_second_min: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    pub(super) fn new(ratio: f64, per_second_min: u32) -> Self {
        let per_second_min = f64::from(per_second_min);
        let tokens = per_second_min * SAVED_SECONDS;
        let bucket = Mutex::new(Bucket { tokens, filled: Instant::now() });
        Self { ratio, per_second_min, bucket }
    }

    /// A request has arrived.
    pub(super) fn deposit(&self) {
        self.with(|bucket, cap| bucket.tokens = (bucket.tokens + self.ratio).min(cap));
    }

    fn withdraw(&self, now: Instant) -> bool {
        self.with(|bucket, cap| {
            let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
            bucket.filled = bucket.filled.max(now);
            bucket.tokens = (bucket.tokens + elapsed * self.per_second_min).min(cap);
            let has_one = bucket.tokens >= 1.0;
            if has_one {
                bucket.tokens -= 1.0;
            }
            has_one
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Bucket, f64) -> T) -> T {
        let cap = (self.per_second_min * SAVED_SECONDS).max(self.ratio * 100.0);
        act(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner), cap)
    }
}

/// Whether it may be sent again. What no endpoint has seen costs no budget: the endpoint is ejected at once, so such
/// retries do not multiply.
pub(super) fn permits(budget: &Budget, failure: &Failure, request: Request) -> Result<(), Denial> {
    if !request.is_replayable {
        return Err(Denial::BodyNotKept);
    }
    match failure {
        Failure::Connect(_) | Failure::Unsent => return Ok(()),
        Failure::Refused => {}
        Failure::Broken(_) if request.is_idempotent => {}
        Failure::Broken(_) | Failure::Malformed(_) => return Err(Denial::NotIdempotent),
    }
    if request.retries >= RETRIES_MAX {
        Err(Denial::TooOften)
    } else if budget.withdraw(request.now) {
        Ok(())
    } else {
        Err(Denial::BudgetSpent)
    }
}

/// Whether processing it twice does no harm: by its method (RFC 9110, 9.2.2) or because its path was declared so.
pub(super) fn is_idempotent(method: &Method, path: &str, declared: &[String]) -> bool {
    method.is_idempotent() || declared.iter().any(|prefix| lies_below(path, prefix))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn safe() -> Request {
        Request { is_idempotent: true, is_replayable: true, retries: 0, now: Instant::now() }
    }

    fn broken() -> Failure {
        Failure::Broken("reset".to_owned())
    }

    #[test]
    fn only_what_is_provably_safe_is_sent_again() {
        let budget = Budget::new(0.2, 10);
        let permits = |failure, request| permits(&budget, &failure, request);
        let unsafe_ = Request { is_idempotent: false, ..safe() };
        assert_eq!(permits(broken(), safe()), Ok(()));
        assert_eq!(permits(broken(), unsafe_), Err(Denial::NotIdempotent));
        assert_eq!(permits(Failure::Malformed(String::new()), safe()), Err(Denial::NotIdempotent));
        for failure in [Failure::Connect(String::new()), Failure::Unsent, Failure::Refused] {
            assert_eq!(permits(failure, unsafe_), Ok(()));
        }
        let streamed = Request { is_replayable: false, ..safe() };
        assert_eq!(permits(Failure::Unsent, streamed), Err(Denial::BodyNotKept));
        assert_eq!(permits(broken(), Request { retries: 3, ..safe() }), Err(Denial::TooOften));
    }

    #[test]
    fn the_budget_is_spent_and_fills_with_time_and_requests() {
        let start = Instant::now();
        let budget = Budget {
            bucket: Mutex::new(Bucket { tokens: 10.0, filled: start }),
            ..Budget::new(0.5, 1)
        };
        let spend = |now| std::iter::from_fn(|| budget.withdraw(now).then_some(())).count();
        assert_eq!(spend(start), 10);
        assert_eq!(
            permits(&budget, &broken(), Request { now: start, ..safe() }),
            Err(Denial::BudgetSpent)
        );
        let later = start + Duration::from_secs(3);
        assert_eq!(spend(later), 3);
        (0..8).for_each(|_| budget.deposit());
        assert_eq!(spend(later), 4);
    }

    #[test]
    fn a_post_is_idempotent_only_where_declared() {
        let declared = ["/v1/classify".to_owned()];
        assert!(is_idempotent(&Method::GET, "/x", &declared));
        assert!(is_idempotent(&Method::POST, "/v1/classify", &declared));
        assert!(!is_idempotent(&Method::POST, "/v1/classify-and-store", &declared));
        assert!(!is_idempotent(&Method::PATCH, "/x", &declared));
    }
}
