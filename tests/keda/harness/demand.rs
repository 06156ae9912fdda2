//! So much demand, reported to every scaler until it is dropped.

use std::sync::Mutex;

use spotscale_proto::demand::ServiceDemand;

use super::{Front, Scaler};

/// What the front of one service reports.
pub(crate) struct Demand {
    service: String,
    reporters: Mutex<Vec<Front>>,
}

impl Demand {
    /// Nothing to do, as far as these scalers are told.
    pub(crate) fn on(service: &str, scalers: &[&Scaler]) -> Self {
        let nothing = services(service, (0, 0, 0));
        let reporters = scalers.iter().map(|scaler| Front::of(scaler, nothing.clone())).collect();
        Self { service: service.to_owned(), reporters: Mutex::new(reporters) }
    }

    /// So many requests wait, and so many are served by so many replicas.
    pub(crate) fn is(&self, held: u64, in_flight: u64, endpoints: u32) {
        for reporter in self.reporters.lock().unwrap().iter() {
            reporter.says(services(&self.service, (held, in_flight, endpoints)));
        }
    }

    /// The last scaler hears no more, as a partition would have it.
    pub(crate) fn cut_last(&self) {
        self.reporters.lock().unwrap().pop();
    }
}

fn services(name: &str, (held, in_flight, endpoints): (u64, u64, u32)) -> Vec<ServiceDemand> {
    vec![ServiceDemand {
        service: name.to_owned(),
        held,
        oldest_held_ms: held.min(1),
        in_flight,
        endpoints,
        concurrency_per_endpoint: 1,
        ..ServiceDemand::default()
    }]
}
