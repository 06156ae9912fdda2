//! What a proxy does to headers: takes out those that are about one connection (RFC 9110, 7.6.1), and adds who asked.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};

/// How long the client is ready to wait for the response, in milliseconds.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// How long the request was held, in milliseconds.
pub(super) const HELD: HeaderName = HeaderName::from_static("x-spotscale-held-ms");
/// Names the request in all logs.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// Removes what concerns one connection, including what `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // gRPC servers insist on `te: trailers`, the one value that HTTP/2 allows.
    let wants_trailers = headers.get(header::TE).is_some_and(|te| te == "trailers");
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Prepares a client's request for an endpoint: the same for each attempt. The host that was asked for is passed on.
pub(super) fn prepare<B>(request: &mut Request<B>, client: IpAddr) {
    // HTTP/2 has it in the URI, HTTP/1.1 in a header of its own.
    let authority = request.uri().authority().and_then(|a| a.as_str().parse::<HeaderValue>().ok());
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    // The front has answered it: reading the body is what sends `100 Continue`.
    headers.remove(header::EXPECT);
    if let Some(authority) = authority {
        headers.entry(header::HOST).or_insert(authority);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    forward_for(headers, client);
    headers.entry(REQUEST_ID).or_insert_with(new_id);
}

/// The time the client allows; `Err` when the header is there and is no number.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ()> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    millis.map(|millis| Some(Duration::from_millis(millis))).ok_or(())
}

fn forward_for(headers: &mut HeaderMap, client: IpAddr) {
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut all: Vec<String> = before.map(str::to_owned).collect();
    all.push(client.to_string());
    if let Ok(value) = all.join(", ").parse() {
        headers.insert(FORWARDED_FOR, value);
    }
}

fn new_id() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_is_removed_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("x-private", "1"),
            ("x-public", "2"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-public"]);
    }

    #[test]
    fn who_asked_is_added_and_nothing_known_is_overwritten() {
        let mut request = Request::get("/")
            .header("host", "a:1")
            .header("x-forwarded-for", "10.0.0.9")
            .header("x-forwarded-proto", "https")
            .header("x-request-id", "mine")
            .header("expect", "100-continue")
            .body(())
            .unwrap();
        prepare(&mut request, IpAddr::from([127, 0, 0, 1]));
        let get = |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        assert_eq!(get("x-forwarded-for"), Some("10.0.0.9, 127.0.0.1"));
        assert_eq!(get("x-forwarded-proto"), Some("https"));
        assert_eq!(get("x-forwarded-host"), Some("a:1"));
        assert_eq!((get("host"), get("x-request-id")), (Some("a:1"), Some("mine")));
        assert_eq!(get("expect"), None);
    }

    #[test]
    fn a_timeout_that_is_no_number_is_an_error() {
        let of = |text| timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(text))]));
        assert_eq!(of("250"), Ok(Some(Duration::from_millis(250))));
        assert!(of("-1").is_err() && of("1s").is_err() && of("").is_err());
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
