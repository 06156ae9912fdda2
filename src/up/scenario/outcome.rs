//! What became of one request, judged from outside as a client would: answered, refused politely,
//! or lost. Pure.

use std::fmt;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// 200 with a whole classification.
    Answered {
        /// Milliseconds that the model itself took, as the server says.
        inference_ms: f64,
    },
    /// 503 that says when to come back.
    Refused,
    /// Anything else. Nobody is to blame but the service.
    Lost {
        /// What was wrong with it.
        why: Why,
    },
}

/// Why a request counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// No connection, or one that broke before the answer began.
    Connection,
    /// The answer began and broke off.
    Truncated,
    /// A 200 that is not a classification.
    WrongAnswer,
    /// 503 without a `Retry-After`.
    RefusedWithoutRetryAfter,
    /// Any other status.
    Status(u16),
    /// No whole answer within the client's patience.
    Timeout,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("no connection, or it broke"),
            Self::Truncated => f.write_str("answer broken off"),
            Self::WrongAnswer => f.write_str("200 without a classification"),
            Self::RefusedWithoutRetryAfter => f.write_str("503 without Retry-After"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Timeout => f.write_str("no answer in time"),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    predictions: Vec<Prediction>,
    timings_ms: Timings,
}

#[derive(Deserialize)]
struct Prediction {
    score: f64,
}

#[derive(Deserialize)]
struct Timings {
    inference: f64,
}

impl Outcome {
    /// Of a response that has come in whole.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        match status {
            StatusCode::OK => Self::of_answer(body),
            StatusCode::SERVICE_UNAVAILABLE if says_when(headers) => Self::Refused,
            StatusCode::SERVICE_UNAVAILABLE => Self::lost(Why::RefusedWithoutRetryAfter),
            other => Self::lost(Why::Status(other.as_u16())),
        }
    }

    pub(super) const fn lost(why: Why) -> Self {
        Self::Lost { why }
    }

    fn of_answer(body: &[u8]) -> Self {
        let whole = |answer: &Answer| {
            !answer.predictions.is_empty()
                && answer.predictions.iter().all(|p| (0.0..=1.0).contains(&p.score))
        };
        match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if whole(&answer) => {
                Self::Answered { inference_ms: answer.timings_ms.inference }
            }
            _ => Self::lost(Why::WrongAnswer),
        }
    }
}

fn says_when(headers: &HeaderMap) -> bool {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    seconds.is_some_and(|text| text.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = br#"{"predictions":[{"index":1,"label":"x","score":0.5}],
        "timings_ms":{"queue":0,"decode":1,"inference":20.5,"total":22}}"#;

    fn retry_after(value: &str) -> HeaderMap {
        [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn only_a_whole_classification_is_an_answer() {
        let of = |body| Outcome::of(StatusCode::OK, &HeaderMap::new(), body);
        assert_eq!(of(GOOD), Outcome::Answered { inference_ms: 20.5 });
        let wrong: [&[u8]; 5] = [
            b"",
            b"ok",
            &GOOD[..GOOD.len() - 1],
            br#"{"predictions":[],"timings_ms":{"inference":1}}"#,
            br#"{"predictions":[{"score":1.5}],"timings_ms":{"inference":1}}"#,
        ];
        for body in wrong {
            assert_eq!(of(body), Outcome::lost(Why::WrongAnswer));
        }
    }

    #[test]
    fn a_refusal_must_say_when_to_come_back() {
        let of = |headers| Outcome::of(StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
        assert_eq!(of(retry_after("3")), Outcome::Refused);
        for headers in [HeaderMap::new(), retry_after("soon"), retry_after("-1")] {
            assert_eq!(of(headers), Outcome::lost(Why::RefusedWithoutRetryAfter));
        }
    }

    #[test]
    fn every_other_status_is_a_loss() {
        for code in [204, 400, 429, 499, 500, 502, 504] {
            let status = StatusCode::from_u16(code).unwrap();
            let outcome = Outcome::of(status, &retry_after("1"), GOOD);
            assert_eq!(outcome, Outcome::lost(Why::Status(code)));
        }
    }
}
