//! So much demand, reported to every scaler until it is dropped.

use std::sync::Mutex;

use spotscale_proto::demand::ServiceDemand;

use super::{Front, Scaler};

/// What the front of one service reports.
pub(crate) struct Demand {
    service: String,
    /// Requests that a replica takes at a time.
    concurrency: u32,
    reporters: Mutex<Vec<Front>>,
}

impl Demand {
    /// Nothing to do, as far as these scalers are told; a replica takes one request at a time.
    pub(crate) fn on(service: &str, scalers: &[&Scaler]) -> Self {
        let demand =
            Self { service: service.to_owned(), concurrency: 1, reporters: Mutex::default() };
        let nothing = demand.services((0, 0, 0));
        let reporters = scalers.iter().map(|scaler| Front::of(scaler, nothing.clone())).collect();
        Self { reporters: Mutex::new(reporters), ..demand }
    }

    /// From now on a replica takes so many requests at a time.
    pub(crate) fn by(self, concurrency: u32) -> Self {
        Self { concurrency, ..self }
    }

    /// So many requests wait, and so many are served by so many replicas.
    pub(crate) fn is(&self, held: u64, in_flight: u64, endpoints: u32) {
        for reporter in self.reporters.lock().unwrap().iter() {
            reporter.says(self.services((held, in_flight, endpoints)));
        }
    }

    /// The last scaler hears no more, as a partition would have it.
    pub(crate) fn cut_last(&self) {
        self.reporters.lock().unwrap().pop();
    }

    fn services(&self, (held, in_flight, endpoints): (u64, u64, u32)) -> Vec<ServiceDemand> {
        vec![ServiceDemand {
            service: self.service.clone(),
            held,
            oldest_held_ms: held.min(1),
            in_flight,
            endpoints,
            concurrency_per_endpoint: self.concurrency,
            ..ServiceDemand::default()
        }]
    }
}
