//! The money, a tick at a time: what the market and the cluster say is entered, and the sums are told. What is missing is
//! asked for by tasks of their own: prices of the market, and of the provider what became of machines that are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{Observation, Offering},
    ledger::{Baseline, Ledger},
    prices::PriceBook,
    units::{InstanceType, MicroUsd, UsdPerHour},
};

use crate::{
    accounts::SharedBooks,
    inquiry::Inquiry,
    quotes::{Quoted, Quotes},
};

/// The market's first answer is awaited for so long, and no later one.
const FIRST_PRICES: Duration = Duration::from_secs(1);

pub(super) struct Bookkeeping {
    accounts: SharedBooks,
    quotes: Quotes,
    inquiry: Option<Inquiry>,
}

/// What follows from the money for decisions.
pub(super) struct Account {
    /// Refunds taken off; none where the ledger is not ours.
    pub(super) spent_this_month: Option<MicroUsd>,
    /// The machines that the provider turns out to have taken without a word.
    pub(super) taken: Vec<Offering>,
}

// === impl Bookkeeping ===

impl Bookkeeping {
    pub(super) fn new(accounts: SharedBooks, quotes: Quotes, inquiry: Option<Inquiry>) -> Self {
        Self { accounts, quotes, inquiry }
    }

    /// What the market says, which is entered.
    pub(super) async fn quoted(&mut self, now: Timestamp) -> Quoted {
        let quoted = self.quotes.now(now, FIRST_PRICES).await;
        self.accounts.lock().enter(&quoted.book);
        quoted
    }

    /// What the spend is held against from now on, if anything.
    pub(super) fn hold_against(&self, baseline: Option<Baseline>) {
        self.accounts.lock().hold_against(baseline);
    }

    /// Goes on where saved state ends.
    pub(super) fn resume(&self, ledger: Ledger, prices: &PriceBook) {
        self.accounts.lock().resume(ledger, prices);
    }

    /// Enters what was seen, and what was learned of machines that are gone, and asks for what is missing. Nothing of that
    /// where the ledger is not ours. A baseline of too many machines would stay in the metrics for ever: nothing is told
    /// before machines are sized.
    pub(super) fn account(&mut self, seen: &Observation, is_ours: bool, is_sized: bool) -> Account {
        let mut accounts = self.accounts.lock();
        let learned = self.inquiry.as_mut().map(Inquiry::learned).unwrap_or_default();
        let mut taken = vec![];
        if is_ours {
            accounts.observe(seen);
            taken.extend(learned.iter().filter_map(|fate| accounts.learn(fate)));
            self.quotes.need(accounts.types_since());
        }
        accounts.tell((is_ours && is_sized).then_some(seen.at));
        if let Some(inquiry) = &self.inquiry {
            inquiry.ask(accounts.open_ends().filter(|_| is_ours));
        }
        let spent_this_month = is_ours.then(|| accounts.spent_this_month(seen.at));
        Account { spent_this_month, taken }
    }

    /// The prices of what is for sale and of what is there. That of anything else would be old, and nobody's.
    pub(super) fn prices(
        &self,
        seen: &Observation,
        is_for_sale: impl Fn(&InstanceType) -> bool,
    ) -> BTreeMap<Offering, UsdPerHour> {
        let nodes = seen.nodes.iter();
        let there: BTreeSet<_> = nodes.map(|node| &node.offering.instance_type).collect();
        let is_wanted = |it: &InstanceType| is_for_sale(it) || there.contains(it);
        self.accounts.lock().prices_at(seen.at, is_wanted)
    }

    /// What must outlive us, for [`Self::resume`].
    pub(super) fn kept(&self, now: Timestamp) -> (Ledger, PriceBook) {
        self.accounts.lock().kept(now)
    }
}
