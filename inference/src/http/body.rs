//! Reads a request's body within its limit, and finds the picture in it.

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::ServeError;

/// The form field that holds the picture.
const FIELD: &str = "image";

/// The whole body, when it has at most `max` bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, ServeError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(ServeError::Encoding(String::from_utf8_lossy(encoding.as_bytes()).into()));
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|text| text.parse().ok()).is_some_and(|length: usize| length > max) {
        return Err(ServeError::BodyTooLarge { max });
    }
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ServeError::BodyTooLarge { max }),
        Err(error) => Err(ServeError::BodyBroken(error.to_string())),
    }
}

/// The picture: the body itself, or the form field `image`.
pub(super) async fn picture(parts: Parts, body: Bytes) -> Result<Bytes, ServeError> {
    if !is_form(&parts.headers) {
        return Ok(body);
    }
    let wrong = |what: String| ServeError::Request(format!("multipart: {what}"));
    let whole = Request::from_parts(parts, Body::from(body));
    let mut form =
        Multipart::from_request(whole, &()).await.map_err(|error| wrong(error.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error.body_text()))? {
        if field.name() == Some(FIELD) {
            return field.bytes().await.map_err(|error| wrong(error.body_text()));
        }
    }
    Err(wrong(format!("no field `{FIELD}`")))
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("multipart/form-data"))
}
