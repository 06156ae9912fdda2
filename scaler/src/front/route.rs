//! Which service a request belongs to, by its host or path.

use std::str::FromStr;

use http::{Request, header};
use serde::Serialize;

/// One rule of `--route`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The service.
    pub service: String,
    /// What belongs to it.
    pub rule: Rule,
}

/// What a route looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The path is this one or lies below it.
    Path(String),
    /// The host is this one, whatever the port.
    Host(String),
}

impl Route {
    /// Whether this request belongs to the service.
    pub fn fits<B>(&self, request: &Request<B>) -> bool {
        match &self.rule {
            Rule::Path(prefix) => lies_below(request.uri().path(), prefix),
            Rule::Host(wanted) => {
                host(request).is_some_and(|host| host.eq_ignore_ascii_case(wanted))
            }
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((service, rule)) if is_service_name(service) && !rule.is_empty() => {
                let is_path = rule.starts_with('/');
                let rule = rule.to_owned();
                let rule = if is_path { Rule::Path(rule) } else { Rule::Host(rule) };
                Ok(Self { service: service.to_owned(), rule })
            }
            _ => Err(format!("{text:?} is no route; wanted NAME=/PATH-PREFIX or NAME=HOST")),
        }
    }
}

/// `name` or `namespace/name`, in visible ASCII without what flags and files use as separators.
pub(super) fn is_service_name(name: &str) -> bool {
    let is_right = |b: u8| b.is_ascii_graphic() && !b",=\"\\".contains(&b);
    (1..=253).contains(&name.len()) && name.bytes().all(is_right)
}

/// Whether `path` is `prefix` or a path below it; `/v1` has nothing to do with `/v10`.
pub(super) fn lies_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn host<B>(request: &Request<B>) -> Option<&str> {
    if let Some(host) = request.uri().host() {
        return Some(host);
    }
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Some(name),
        _ => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, path: &str) -> Request<()> {
        Request::get(path).header(header::HOST, host).body(()).unwrap()
    }

    #[test]
    fn a_path_rule_takes_the_path_and_what_lies_below() {
        let route: Route = "a=/v1/".parse().unwrap();
        for (path, fits) in [("/v1", true), ("/v1/x", true), ("/v10", false), ("/", false)] {
            assert_eq!(route.fits(&request("h", path)), fits, "{path}");
        }
    }

    #[test]
    fn a_host_rule_ignores_case_and_port() {
        let route: Route = "ns/a=models.example".parse().unwrap();
        for (host, fits) in
            [("models.example", true), ("MODELS.example:8080", true), ("other.example", false)]
        {
            assert_eq!(route.fits(&request(host, "/")), fits, "{host}");
        }
    }

    #[test]
    fn a_wrong_route_is_refused() {
        for wrong in ["", "a", "a=", "=/v1", "a b=/v1"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong:?} was accepted");
        }
    }
}
