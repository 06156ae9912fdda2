//! The metadata services of the machines, where they have one.

use std::collections::{BTreeMap, btree_map};

use tokio::sync::Mutex;

use super::Instance;
use crate::cloud::{self, MetadataMock, Notices};

/// Where a program of AWS' looks for its machine's metadata service.
pub(super) const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// All of them, by Node.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<BTreeMap<String, Service>>);

#[derive(Debug)]
struct Service {
    mock: MetadataMock,
    notices: Notices,
}

impl Services {
    /// Starts a machine's service, if it has none; its endpoint.
    pub(super) async fn start(&self, instance: &Instance) -> anyhow::Result<String> {
        match self.0.lock().await.entry(instance.node.clone()) {
            btree_map::Entry::Occupied(service) => Ok(service.get().mock.endpoint()),
            btree_map::Entry::Vacant(place) => {
                let about = cloud::Instance {
                    id: instance.id.clone(),
                    instance_type: instance.offering.instance_type.clone(),
                    zone: instance.offering.zone.clone(),
                };
                let notices = Notices::default();
                let mock = MetadataMock::start(&about, &notices).await?;
                Ok(place.insert(Service { mock, notices }).mock.endpoint())
            }
        }
    }

    /// Tells a machine something beside what it was told before.
    pub(super) async fn tell(
        &self,
        node: &str,
        change: impl FnOnce(&mut Notices) + Send,
    ) -> anyhow::Result<()> {
        let mut services = self.0.lock().await;
        if let Some(Service { mock, notices }) = services.get_mut(node) {
            change(notices);
            mock.tell(notices).await?;
        }
        Ok(())
    }

    /// Ends a machine's service.
    pub(super) async fn end(&self, node: &str) {
        self.0.lock().await.remove(node);
    }
}
