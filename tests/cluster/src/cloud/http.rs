//! Calls of AWS' two wire protocols, unsigned: nothing here checks a signature.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::REGION;

/// Sends a request and reads the whole answer.
pub(super) async fn send(request: Request<Full<Bytes>>) -> anyhow::Result<Response<Bytes>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (head, body) = client.request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// The text of an answer that says yes.
pub(super) async fn call(request: Request<Full<Bytes>>) -> anyhow::Result<String> {
    let what = request.uri().to_string();
    let answer = send(request).await.with_context(|| what.clone())?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    if !answer.status().is_success() {
        bail!("{what}: {} {text}", answer.status());
    }
    Ok(text)
}

/// A call of the JSON protocol; `target` names service and action, for example `AmazonSQS.SendMessage`.
pub(super) async fn json(
    endpoint: &str,
    service: &str,
    target: &str,
    body: &serde_json::Value,
) -> anyhow::Result<serde_json::Value> {
    let request = post(endpoint, service)
        .header(CONTENT_TYPE, "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .body(Full::from(body.to_string()))?;
    let text = call(request).await.with_context(|| target.to_owned())?;
    Ok(if text.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&text)? })
}

/// A call of EC2's query protocol; the answer is XML.
pub(super) async fn query(endpoint: &str, fields: &[(&str, &str)]) -> anyhow::Result<String> {
    let request = post(endpoint, "ec2")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(form(fields)))?;
    call(request).await
}

/// What the server knows the service by.
fn post(endpoint: &str, service: &str) -> http::request::Builder {
    let scope = format!("Credential=test/20260101/{REGION}/{service}/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    Request::builder()
        .method(Method::POST)
        .uri(format!("{endpoint}/"))
        .header("authorization", authorization)
}

fn form(fields: &[(&str, &str)]) -> String {
    let version = [("Version", "2016-11-15")];
    let fields = version.iter().chain(fields);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The texts of all elements of a name, in order. Enough for the flat elements that are asked for here.
pub(super) fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let texts = xml.split(&open).skip(1);
    texts.filter_map(|rest| rest.split_once(&close).map(|(text, _)| text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_name() {
        let xml = "<set><id>a</id><idle>x</idle><id>b</id></set>";
        assert_eq!(elements(xml, "id"), ["a", "b"]);
        assert!(elements(xml, "none").is_empty());
    }
}
