//! When to run a batch, and how much of the queue it takes. A pure rule: no clock, no thread, no
//! queue of its own.

use std::time::{Duration, Instant};

/// One request in the queue, oldest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// Its pictures.
    pub(crate) rows: usize,
    /// When it joined the queue.
    pub(crate) arrived: Instant,
    /// When its answer is worth nothing any more.
    pub(crate) deadline: Instant,
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Most pictures.
    pub(crate) max_rows: usize,
    /// Longest that the oldest waits for company.
    pub(crate) max_wait: Duration,
    /// How long a batch takes, as measured: a deadline nearer than this starts it at once.
    pub(crate) service: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing waits.
    Idle,
    /// Ask again when another request comes, at the latest then.
    Wait(Instant),
    /// Run this many requests from the front of the queue.
    Run(usize),
}

/// Decides over the queue, oldest first. Requests stay whole and in order; one that is larger than
/// a batch goes alone.
pub(crate) fn next(queue: impl Iterator<Item = Waiting>, now: Instant, policy: &Policy) -> Next {
    let (mut rows, mut count, mut due) = (0, 0, None);
    for waiting in queue {
        if count > 0 && rows + waiting.rows > policy.max_rows {
            return Next::Run(count);
        }
        rows += waiting.rows;
        count += 1;
        if rows >= policy.max_rows {
            return Next::Run(count);
        }
        let latest_start = waiting.deadline.checked_sub(policy.service).unwrap_or(now);
        let patience = (waiting.arrived + policy.max_wait).min(latest_start);
        due = Some(due.map_or(patience, |due: Instant| due.min(patience)));
    }
    match due {
        None => Next::Idle,
        Some(due) if due <= now => Next::Run(count),
        Some(due) => Next::Wait(due),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Queue {
        start: Instant,
        waiting: Vec<Waiting>,
    }

    impl Queue {
        fn new() -> Self {
            Self { start: Instant::now(), waiting: Vec::new() }
        }

        fn with(mut self, rows: usize, arrived_ms: u32, deadline_ms: u32) -> Self {
            let (arrived, deadline) = (self.start + MS * arrived_ms, self.start + MS * deadline_ms);
            self.waiting.push(Waiting { rows, arrived, deadline });
            self
        }

        /// Batches of 4 that wait 10 ms and take 20 ms.
        fn next_at(&self, now_ms: u32) -> Next {
            let policy = Policy { max_rows: 4, max_wait: MS * 10, service: MS * 20 };
            next(self.waiting.iter().copied(), self.start + MS * now_ms, &policy)
        }

        fn wait_until(&self, ms: u32) -> Next {
            Next::Wait(self.start + MS * ms)
        }
    }

    #[test]
    fn nothing_waits() {
        assert_eq!(Queue::new().next_at(0), Next::Idle);
    }

    #[test]
    fn age_starts_a_batch_that_is_not_full() {
        let queue = Queue::new().with(1, 0, 1000).with(1, 5, 1000);
        assert_eq!(queue.next_at(5), queue.wait_until(10));
        assert_eq!(queue.next_at(10), Next::Run(2));
    }

    #[test]
    fn size_starts_a_batch_at_once_and_leaves_the_rest() {
        let queue =
            Queue::new().with(1, 0, 1000).with(2, 0, 1000).with(1, 0, 1000).with(1, 0, 1000);
        assert_eq!(queue.next_at(0), Next::Run(3));
    }

    #[test]
    fn a_request_is_never_split_or_overtaken() {
        let queue = Queue::new().with(3, 0, 1000).with(2, 0, 1000).with(1, 0, 1000);
        assert_eq!(queue.next_at(0), Next::Run(1));
    }

    #[test]
    fn a_near_deadline_starts_a_batch_in_time() {
        let queue = Queue::new().with(1, 0, 1000).with(1, 0, 25);
        assert_eq!(queue.next_at(0), queue.wait_until(5));
        assert_eq!(queue.next_at(5), Next::Run(2));
    }

    #[test]
    fn a_request_larger_than_a_batch_goes_alone() {
        let queue = Queue::new().with(9, 0, 1000).with(1, 0, 1000);
        assert_eq!(queue.next_at(0), Next::Run(1));
    }
}
