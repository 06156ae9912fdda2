//! Objects from YAML, of any kind, put in place by server-side apply.

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};

use crate::control_plane::until;

/// The objects of a YAML text of any number of documents.
pub fn documents(yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let values: Vec<Option<DynamicObject>> = serde_saphyr::from_multiple(yaml)?;
    Ok(values.into_iter().flatten().collect())
}

/// Applies every object as field manager `spotscale-test`, in the order given; those without a namespace go to
/// `namespace`. An object that the API server refuses is named.
pub async fn apply(
    client: &Client,
    namespace: &str,
    objects: &[DynamicObject],
) -> anyhow::Result<()> {
    let params = PatchParams::apply("spotscale-test").force();
    for object in objects {
        let name = object.name_any();
        let types = object.types.as_ref().context("no apiVersion and kind")?;
        let kind = GroupVersionKind::try_from(types)?;
        // Of its group alone: there are dozens, and this is asked for all the time.
        let known = pinned_kind(client, &kind).await;
        let (resource, capabilities) = known.with_context(|| format!("no such kind: {kind:?}"))?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
                Api::namespaced_with(client.clone(), &namespace, &resource)
            }
        };
        api.patch(&name, &params, &Patch::Apply(object))
            .await
            .with_context(|| format!("{} {name} was refused", types.kind))?;
    }
    Ok(())
}

/// Applies CRDs, and waits until objects of each can be made.
pub async fn define(client: &Client, definitions: &[DynamicObject]) -> anyhow::Result<()> {
    apply(client, "default", definitions).await?;
    for definition in definitions {
        until_established(client, &definition.name_any()).await?;
    }
    Ok(())
}

async fn until_established(client: &Client, name: &str) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    until(name, || async {
        let definition = definitions.get(name).await?;
        let conditions = definition.status.unwrap_or_default().conditions.unwrap_or_default();
        let spec = definition.spec;
        let version =
            spec.versions.iter().find(|one| one.served).context("no version is served")?;
        // Discovery, which says where objects of a kind go, may learn of it a moment later.
        pinned_kind(client, &GroupVersionKind::gvk(&spec.group, &version.name, &spec.names.kind))
            .await?;
        Ok(conditions.iter().any(|c| c.type_ == "Established" && c.status == "True"))
    })
    .await
}
