//! One replica that requests may be sent to, as a flag, a file line or another part of the process names it.
//! Not its state: that is the `fleet`'s.

use std::{fmt, num::NonZeroU32, str::FromStr};

use http::uri::{Authority, Uri};
use serde::{Serialize, Serializer};
use spotscale_decide::admission::Tier;

/// Where a replica listens, and what it can take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// Host and port.
    #[serde(serialize_with = "as_text")]
    pub authority: Authority,
    /// The protocol spoken to it.
    pub protocol: Protocol,
    /// The class of its machine.
    pub tier: Tier,
    /// Requests that it takes at a time; none for the front's default.
    pub concurrency: Option<NonZeroU32>,
    /// The service that it is a replica of; none for the front's own.
    pub service: Option<String>,
}

/// An endpoint in a list, with what a later list may say otherwise of the same endpoint. That is no part of
/// [`Endpoint`], so that one which changes keeps its connections and its running requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Its machine is about to go: it is the second choice in its tier, for when no other has a free slot.
    pub is_leaving: bool,
}

/// The HTTP version spoken to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1, except for gRPC requests, which need HTTP/2. Spelled `http://`.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge for all requests. Spelled `h2c://`.
    H2c,
}

/// What a replica is, besides where it listens: one word after its address, such as `tier=cpu`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    /// `tier=gpu` or `tier=cpu`.
    Tier(Tier),
    /// `concurrency=N`.
    Concurrency(NonZeroU32),
    /// `service=NAME`.
    Service(String),
}

/// A line that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no endpoint: {why}; wanted: {WANTED}")]
pub struct EndpointError {
    given: String,
    why: &'static str,
}

/// Most requests that a replica may be said to take at a time; slots are added up, and this keeps the sum in bounds.
pub(super) const CONCURRENCY_MAX: u32 = 10_000;
const WANTED: &str = "http://HOST:PORT or h2c://HOST:PORT, then optionally tier=gpu|cpu, concurrency=N, service=NAME, leaving";

impl Endpoint {
    /// A replica on a GPU that speaks HTTP/1.1, with the front's default concurrency.
    pub fn new(authority: Authority) -> Self {
        let (protocol, tier) = (Protocol::Http1, Tier::Gpu);
        Self { authority, protocol, tier, concurrency: None, service: None }
    }

    fn from_url(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "not a URL")?;
        let protocol = match uri.scheme_str() {
            Some("http") => Protocol::Http1,
            Some("h2c") => Protocol::H2c,
            _ => return Err("unknown scheme"),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("it has a path");
        }
        match uri.into_parts().authority {
            Some(authority) if authority.as_str().contains('@') => Err("it has credentials"),
            Some(authority) if authority.port_u16().is_none() => Err("it has no port"),
            Some(authority) => Ok(Self { protocol, ..Self::new(authority) }),
            None => Err("it has no host"),
        }
    }

    fn set(&mut self, word: &str) -> Result<(), &'static str> {
        match word.parse()? {
            Attribute::Tier(tier) => self.tier = tier,
            Attribute::Concurrency(concurrency) => self.concurrency = Some(concurrency),
            Attribute::Service(name) => self.service = Some(name),
        }
        Ok(())
    }
}

impl FromStr for Attribute {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, &'static str> {
        match word.split_once('=') {
            Some(("tier", tier)) => parse_tier(tier).map(Self::Tier),
            Some(("concurrency", n)) => parse_concurrency(n).map(Self::Concurrency),
            Some(("service", name)) if !name.is_empty() => Ok(Self::Service(name.to_owned())),
            _ => Err("unknown attribute"),
        }
    }
}

pub(super) fn parse_tier(text: &str) -> Result<Tier, &'static str> {
    let tiers = [Tier::Gpu, Tier::Cpu];
    tiers.into_iter().find(|tier| tier.as_str() == text).ok_or("tier is neither gpu nor cpu")
}

pub(super) fn parse_concurrency(text: &str) -> Result<NonZeroU32, &'static str> {
    let n: Option<NonZeroU32> = text.parse().ok();
    let n = n.filter(|n| n.get() <= CONCURRENCY_MAX);
    n.ok_or("concurrency is no whole number from 1 to 10000")
}

impl Listed {
    fn set(&mut self, word: &str) -> Result<(), &'static str> {
        match word {
            "leaving" => self.is_leaving = true,
            _ => self.endpoint.set(word)?,
        }
        Ok(())
    }
}

impl From<Endpoint> for Listed {
    /// One that stays.
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, is_leaving: false }
    }
}

impl FromStr for Listed {
    type Err = EndpointError;

    fn from_str(line: &str) -> Result<Self, EndpointError> {
        let refuse = |why| EndpointError { given: line.to_owned(), why };
        let mut words = line.split_whitespace();
        let endpoint = Endpoint::from_url(words.next().unwrap_or_default()).map_err(refuse)?;
        let mut listed = Self::from(endpoint);
        words.try_for_each(|word| listed.set(word)).map_err(refuse)?;
        Ok(listed)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority.as_str())
    }
}

fn as_text<S: Serializer>(authority: &Authority, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(authority.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_url_and_its_attributes() {
        let line = "h2c://10.0.0.1:8000/  tier=cpu concurrency=4 leaving service=a";
        let Listed { endpoint, is_leaving } = line.parse().unwrap();
        assert!(is_leaving);
        assert_eq!(endpoint.authority, "10.0.0.1:8000");
        assert_eq!((endpoint.protocol, endpoint.tier), (Protocol::H2c, Tier::Cpu));
        assert_eq!(endpoint.concurrency, NonZeroU32::new(4));
        assert_eq!(endpoint.service.as_deref(), Some("a"));
        let plain: Listed = "http://[::1]:80".parse().unwrap();
        assert_eq!(plain, Endpoint::new(Authority::from_static("[::1]:80")).into());
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong_with_it() {
        for (line, why) in [
            ("", "not a URL"),
            ("10.0.0.1:80", "unknown scheme"),
            ("https://a:1", "unknown scheme"),
            ("http://a", "no port"),
            ("http://u:p@a:1", "credentials"),
            ("http://a:1/path", "a path"),
            ("http://a:1 concurrency=0", "concurrency"),
            ("http://a:1 concurrency=4294967295", "concurrency"),
            ("http://a:1 tier=tpu", "neither gpu nor cpu"),
            ("http://a:1 weight=2", "unknown attribute"),
            ("http://a:1 leaving=true", "unknown attribute"),
        ] {
            let error = line.parse::<Listed>().unwrap_err().to_string();
            assert!(error.contains(why), "{line:?}: {error}");
        }
    }
}
