//! Calls to the API server: reading, changing and writing one object until nobody was faster, and what errors mean.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use crate::{cluster::ClusterError, kubernetes::names::MANAGER};

/// A node's kubelet and controllers write to it too, but not without end.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// Whether something had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Now,
    Before,
}

/// Changes an object by a merge patch that is made from it as it is; nothing is written where `change` finds nothing to
/// change. Objects that are not there need no change.
pub(super) async fn change<K>(
    api: &Api<K>,
    name: &str,
    change: impl Fn(&K) -> Result<Option<Value>, ClusterError> + Send,
) -> Result<Written, ClusterError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    for attempt in 1..=TRIES {
        let Some(now) = api.get_opt(name).await.map_err(|error| failed(&error))? else {
            return Ok(Written::Before);
        };
        let Some(mut patch) = change(&now)? else {
            return Ok(Written::Before);
        };
        // With these the API server takes the patch for this very state of this very object, or not at all.
        patch["metadata"]["resourceVersion"] = now.resource_version().into();
        patch["metadata"]["uid"] = now.uid().into();
        match api.patch(name, &params(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(Written::Now),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Written::Before),
            Err(kube::Error::Api(status)) if status.code == 409 => sleep(PAUSE * attempt).await,
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(ClusterError::Unavailable(format!("{name} changes faster than it can be written")))
}

/// Who we are to the API server.
pub(super) fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// What an error means for a decision.
pub(in crate::kubernetes) fn failed(error: &kube::Error) -> ClusterError {
    let kube::Error::Api(status) = error else {
        return ClusterError::Unavailable(innermost(error));
    };
    let said = format!("{} ({})", status.message, status.code);
    match status.code {
        401 | 403 => ClusterError::Forbidden(said),
        408 | 429 | 500.. => ClusterError::Unavailable(said),
        _ => ClusterError::Refused(said),
    }
}

/// The cause that says most.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_error_is_typed_by_what_can_be_done_about_it() {
        let kind = |code| {
            let status = Status { code, ..Status::failure("no", "Reason") };
            failed(&kube::Error::Api(Box::new(status))).kind()
        };
        for (code, expected) in [
            (401, "forbidden"),
            (403, "forbidden"),
            (409, "refused"),
            (422, "refused"),
            (429, "unavailable"),
            (500, "unavailable"),
            (504, "unavailable"),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }
}
