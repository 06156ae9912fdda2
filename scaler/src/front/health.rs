//! Readiness on the port that clients call, for load balancers that can probe no other. It is answered before anything is
//! counted or held, so a probe is no demand.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use tokio::sync::watch;

use crate::admin;

/// The path that is asked, and what it tells.
pub(super) struct Health {
    /// As the request has it, without a query.
    pub(super) path: String,
    /// What the admin port tells too.
    pub(super) ready: watch::Receiver<Result<(), &'static str>>,
}

impl Health {
    /// The answer, where this request asks for it.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let is_asked = request.method() == Method::GET && request.uri().path() == self.path;
        is_asked.then(|| {
            let ready = *self.ready.borrow();
            let mut response = Response::new(Full::from(ready.err().unwrap_or("ok")));
            *response.status_mut() = admin::readiness(ready).status();
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_exactly_the_path_is_answered_with_the_readiness_of_the_moment() {
        let (tell, ready) = watch::channel(Ok(()));
        let health = Health { path: "/healthz".to_owned(), ready };
        let status = |method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            health.answer(&request).map(|response| response.status().as_u16())
        };
        assert_eq!(status(Method::GET, "/healthz?from=balancer"), Some(200));
        tell.send(Err("draining")).unwrap();
        assert_eq!(status(Method::GET, "http://front/healthz"), Some(503));
        assert_eq!(status(Method::GET, "/healthz/"), None);
        assert_eq!(status(Method::GET, "/v1/healthz"), None);
        assert_eq!(status(Method::POST, "/healthz"), None);
    }
}
