//! Makes a list of what the watches have stored whenever that changes, and hands it out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::Node, discovery::v1::EndpointSlice};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    time::sleep,
};

use super::{
    config::Target,
    listing::{LeftOut, Listing, list},
    notice::Notices,
    watch::Contact,
};
use crate::front::{endpoint::Listed, source::Feed};

/// Shortest pause between two lists, however much happens in the cluster. The first change never waits.
const PAUSE: Duration = Duration::from_millis(20);

/// What the watches keep.
pub(super) struct Stores {
    /// One per namespace.
    pub(super) slices: Vec<Store<EndpointSlice>>,
    /// None where Nodes are not watched.
    pub(super) nodes: Option<Store<Node>>,
}

/// Makes lists and hands them out.
pub(super) struct Publisher {
    targets: Vec<Target>,
    notices: Notices,
    stores: Stores,
    /// Of the slices' watches. Nodes are not waited for: without them a list is as good as one of a cluster where no
    /// notice stands.
    contacts: Vec<Arc<Contact>>,
    problems: BTreeSet<String>,
    endpoints: Sender<Vec<Listed>>,
    left_out: Sender<LeftOut>,
    is_listed: Sender<bool>,
}

impl Publisher {
    /// Also returns where its lists go, and the counts of what is not in them.
    pub(super) fn new(
        targets: Vec<Target>,
        notices: Notices,
        stores: Stores,
        contacts: Vec<Arc<Contact>>,
    ) -> (Self, Feed, Receiver<LeftOut>) {
        let (endpoints, listed) = watch::channel(Vec::new());
        let (is_listed, has_list) = watch::channel(false);
        let (left_out, counts) = watch::channel(LeftOut::default());
        let problems = BTreeSet::new();
        let publisher =
            Self { targets, notices, stores, contacts, problems, endpoints, left_out, is_listed };
        (publisher, Feed { endpoints: listed, has_list }, counts)
    }

    /// Ends when nobody watches any more.
    pub(super) async fn run(mut self, mut news: Receiver<()>) {
        while news.changed().await.is_ok() {
            self.publish();
            sleep(PAUSE).await;
        }
    }

    fn publish(&mut self) {
        let Listing { endpoints, left_out, problems } = self.list();
        for problem in problems.difference(&self.problems) {
            tracing::warn!("{problem}");
        }
        self.problems = problems;
        self.left_out.send_replace(left_out);
        self.endpoints.send_if_modified(|old| {
            let is_new = *old != endpoints;
            *old = endpoints;
            is_new
        });
        if self.contacts.iter().all(|contact| contact.is_listed()) {
            self.is_listed.send_if_modified(|is_listed| !std::mem::replace(is_listed, true));
        }
    }

    fn list(&self) -> Listing {
        let Stores { slices, nodes } = &self.stores;
        let slices: Vec<_> = slices.iter().flat_map(Store::state).collect();
        list(&self.targets, &slices, |name| {
            let node = nodes.as_ref().and_then(|nodes| nodes.get(&ObjectRef::new(name)));
            node.is_some_and(|node| self.notices.cover(&node))
        })
    }
}
