//! What the slow signals have to say to a decision: the price hurries, the GPUs veto, and a configured signal that is not
//! fresh may forbid either direction.

use super::{Fallback, Reason, Signal, Without, step::Step};
use crate::{
    freshness::Standing,
    units::{Replicas, Requests},
};

impl Step<'_> {
    /// Whether the price has been high for long enough to count.
    pub(super) fn is_dear(&mut self) -> bool {
        let Some(policy) = &self.policy.price else { return false };
        let usable = policy.freshness.judge(self.signals.price.as_ref(), self.now).is_usable();
        let price =
            self.signals.price.as_ref().filter(|price| usable && price.value >= policy.dear);
        let Some(price) = price else {
            self.memory.dear_since = None;
            return false;
        };
        let since = *self.memory.dear_since.get_or_insert(self.now);
        let (lasted, dear_after) = (self.now.saturating_sub(since), policy.dear_after);
        let (price, dear) = (price.value, lasted >= dear_after);
        self.tell(dear, Reason::PriceDear { price });
        self.tell(!dear, Reason::PriceSpike { price, lasted, dear_after });
        dear
    }

    /// As many more than `target`, up to `present`, as keep the GPUs from being too busy with the work that there is now.
    pub(super) fn vetoed(&mut self, target: Replicas, present: Replicas) -> Replicas {
        let Some((policy, gpu)) = self.policy.gpu.zip(self.signals.gpu) else { return target };
        let usable = policy.freshness.judge(Some(&gpu), self.now).is_usable();
        if !usable || gpu.value < policy.idle {
            return target;
        }
        // The signal is older than the last shrink may be: its mean was over all that were ready since.
        let replicas = self.memory.endpoints_since(gpu.at).max(self.demand.endpoints);
        let work = gpu.value.get() * f64::from(replicas.0);
        let least = Replicas((work / policy.busy.get().max(0.01)).ceil() as u32).min(present);
        self.tell(least > target, Reason::GpuBusy { utilisation: gpu.value, least });
        target.max(least)
    }

    /// The first configured signal that is not fresh and whose policy says to hold then.
    pub(super) fn unfit(
        &self,
        direction: impl Fn(Without) -> Fallback,
    ) -> Option<(Signal, Standing)> {
        let mut signals = self.not_fresh();
        let held = signals.find(|(.., without)| direction(*without) == Fallback::Hold);
        held.map(|(signal, standing, _)| (signal, standing))
    }

    /// Tells of every configured signal that is not fresh and has not been told of as a ground to hold.
    pub(super) fn tell_of_the_rest(&mut self) {
        for (signal, standing, _) in self.not_fresh() {
            let held = [
                Reason::GrowthWithout { signal, standing },
                Reason::ShrinkWithout { signal, standing },
            ];
            let is_told = held.iter().any(|reason| self.reasons.contains(reason));
            self.tell(!is_told, Reason::NotFresh { signal, standing });
        }
    }

    fn not_fresh(&self) -> impl Iterator<Item = (Signal, Standing, Without)> + use<> {
        let gpu = self.policy.gpu.map(|policy| {
            let standing = policy.freshness.judge(self.signals.gpu.as_ref(), self.now);
            (Signal::Gpu, standing, policy.without)
        });
        let price = self.policy.price.map(|policy| {
            let standing = policy.freshness.judge(self.signals.price.as_ref(), self.now);
            (Signal::Price, standing, policy.without)
        });
        gpu.into_iter().chain(price).filter(|(_, standing, _)| *standing != Standing::Fresh)
    }

    /// Takes note of the GPUs, and tells when requests wait although they idle.
    pub(super) fn look_at_gpus(&mut self) {
        let Some((policy, gpu)) = self.policy.gpu.zip(self.signals.gpu) else { return };
        self.memory.note_endpoints(self.now, self.demand.endpoints, policy.freshness.expired);
        let held = self.demand.held;
        let fresh = policy.freshness.judge(Some(&gpu), self.now) == Standing::Fresh;
        let puzzling = fresh && held > Requests::ZERO && gpu.value < policy.idle;
        let serving = self.demand.endpoints > Replicas::ZERO;
        self.tell(puzzling && serving, Reason::QueueWithIdleGpu { held, utilisation: gpu.value });
    }
}
