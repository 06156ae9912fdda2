//! A container's environment, command and arguments, as they are for a process that shares this machine's network.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVar, EnvVarSource, Secret,
};
use kube::{Api, Client};

use super::fields::Identity;

pub(super) type Env = BTreeMap<String, String>;

/// The environment of a container on top of `base`, in which it may refer to what was set before it.
pub(super) async fn resolve(
    client: &Client,
    identity: &Identity,
    container: &Container,
    base: Env,
) -> anyhow::Result<Env> {
    let mut env = base;
    for source in container.env_from.iter().flatten() {
        env.extend(all_of(client, identity.namespace(), source).await?);
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(client, identity, variable, &env).await? {
            env.insert(variable.name.clone(), value);
        }
    }
    for value in env.values_mut() {
        *value = own_address(value, identity.ip);
    }
    Ok(env)
}

async fn value_of(
    client: &Client,
    identity: &Identity,
    variable: &EnvVar,
    before: &Env,
) -> anyhow::Result<Option<String>> {
    match &variable.value_from {
        None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), before))),
        Some(source) => referred(client, identity, source)
            .await
            .with_context(|| format!("the variable {}", variable.name)),
    }
}

async fn referred(
    client: &Client,
    identity: &Identity,
    source: &EnvVarSource,
) -> anyhow::Result<Option<String>> {
    let namespace = identity.namespace();
    if let Some(field) = &source.field_ref {
        return identity.field(&field.field_path).map(Some);
    }
    let (kind, name, key, optional, values) = if let Some(key) = &source.config_map_key_ref {
        (
            "ConfigMap",
            &key.name,
            &key.key,
            key.optional,
            config_map(client, namespace, &key.name).await?,
        )
    } else if let Some(key) = &source.secret_key_ref {
        ("Secret", &key.name, &key.key, key.optional, secret(client, namespace, &key.name).await?)
    } else {
        bail!("this kind of valueFrom is not known here");
    };
    let value = values.and_then(|mut values| values.remove(key));
    match value {
        Some(bytes) => Ok(Some(String::from_utf8(bytes)?)),
        None if optional == Some(true) => Ok(None),
        None => bail!("{kind} {name} has no key {key}"),
    }
}

async fn all_of(client: &Client, namespace: &str, source: &EnvFromSource) -> anyhow::Result<Env> {
    let (name, optional, values) = if let Some(map) = &source.config_map_ref {
        (&map.name, map.optional, config_map(client, namespace, &map.name).await?)
    } else if let Some(map) = &source.secret_ref {
        (&map.name, map.optional, secret(client, namespace, &map.name).await?)
    } else {
        bail!("an envFrom of nothing");
    };
    if values.is_none() && optional != Some(true) {
        bail!("{name} of envFrom does not exist");
    }
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let pair =
        |(key, value): (String, Vec<u8>)| Ok((format!("{prefix}{key}"), String::from_utf8(value)?));
    values.into_iter().flatten().map(pair).collect()
}

/// The data of a `ConfigMap`; `None` if there is no such object.
pub(super) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<BTreeMap<String, Vec<u8>>>> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await?;
    Ok(found.map(|map| {
        let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        let bytes = map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
        text.chain(bytes).collect()
    }))
}

/// The data of a Secret; `None` if there is no such object.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<BTreeMap<String, Vec<u8>>>> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
    let data =
        |secret: Secret| secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
    Ok(found.map(|secret| data(secret).collect()))
}

/// `$(NAME)` replaced where the name is known, `$$` by `$`; the rest as it is.
pub(super) fn expand(text: &str, env: &Env) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (value, length) = reference(rest, env);
        out.push_str(value);
        rest = &rest[length..];
    }
    out + rest
}

/// What stands for the reference that `text` begins with, and how many bytes of it that replaces.
fn reference<'a>(text: &'a str, env: &'a Env) -> (&'a str, usize) {
    if text.starts_with("$$") {
        return ("$", 2);
    }
    let name = text.strip_prefix("$(").and_then(|rest| rest.split_once(')')).map(|(name, _)| name);
    let found = |name: &str| env.get(name).map(|value| (value.as_str(), name.len() + 3));
    name.and_then(found).unwrap_or(("$", 1))
}

/// The text with the pod's address in the place of every "all addresses": there is one network for all pods here.
pub(super) fn own_address(text: &str, ip: IpAddr) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, length)) = any_address(rest) {
        out.push_str(&rest[..at]);
        out.push_str(&ip.to_string());
        rest = &rest[at + length..];
    }
    out + rest
}

/// Where the first `0.0.0.0` or `[::]` is that is a whole address, and no network (`0.0.0.0/0`).
fn any_address(text: &str) -> Option<(usize, usize)> {
    let part_of_more = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    ["0.0.0.0", "[::]"]
        .iter()
        .flat_map(|address| text.match_indices(address))
        .filter(|(at, address)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + address.len()..].chars().next();
            !before.is_some_and(part_of_more)
                && !after.is_some_and(|letter| part_of_more(letter) || letter == '/')
        })
        .map(|(at, address)| (at, address.len()))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let env =
            Env::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expected) in [
            ("plain", "plain"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$A $( $(A", "$A $( $(A"),
            ("cost: 5$", "cost: 5$"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }

    #[test]
    fn only_a_whole_any_address_is_replaced() {
        let ip = IpAddr::from([10, 244, 3, 4]);
        for (text, expected) in [
            ("0.0.0.0:8080", "10.244.3.4:8080"),
            ("--listen=0.0.0.0:8080", "--listen=10.244.3.4:8080"),
            ("[::]:8080", "10.244.3.4:8080"),
            ("http://0.0.0.0:1,http://[::]:2", "http://10.244.3.4:1,http://10.244.3.4:2"),
            ("0.0.0.0", "10.244.3.4"),
            ("10.0.0.0:80", "10.0.0.0:80"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("0.0.0.01", "0.0.0.01"),
            ("fe80[::]", "fe80[::]"),
        ] {
            assert_eq!(own_address(text, ip), expected, "{text}");
        }
    }
}
