//! What the scaler's explain page says about our one `ScaledObject`: the number it wants, and why.

use jiff::Timestamp;
use serde::Deserialize;

use crate::up::view::Decision;

#[derive(Deserialize)]
struct Page {
    objects: Vec<Explained>,
}

#[derive(Deserialize)]
struct Explained {
    snapshot: Snapshot,
    because: Vec<String>,
}

#[derive(Deserialize)]
struct Snapshot {
    /// Milliseconds since 1970.
    at: i64,
    decision: Decided,
}

#[derive(Deserialize)]
struct Decided {
    scale: Option<Scale>,
}

#[derive(Deserialize)]
struct Scale {
    desired: u32,
}

/// The present decision; `None` before KEDA has asked for the first time, and while the demand is unknown.
pub(super) fn decision(page: &[u8]) -> Option<Decision> {
    let page: Page = serde_json::from_slice(page).ok()?;
    let Explained { snapshot, because } = page.objects.into_iter().next()?;
    Some(Decision {
        at: Timestamp::from_millisecond(snapshot.at).ok()?,
        desired: Some(snapshot.decision.scale?.desired),
        reasons: because,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_and_its_reasons_are_read() {
        let page = br#"{"now":1,"objects":[{"name":"a","because":["one is held"],"snapshot":
            {"id":7,"at":1500,"decision":{"scale":{"active":true,"desired":3},"reasons":[]}}}]}"#;
        let decision = decision(page).unwrap();
        assert_eq!(decision.at.as_millisecond(), 1500);
        assert_eq!((decision.desired, decision.reasons.len()), (Some(3), 1));
    }

    #[test]
    fn nothing_known_is_no_decision() {
        assert_eq!(decision(br#"{"objects":[]}"#), None);
        let unknown =
            br#"{"objects":[{"because":[],"snapshot":{"at":1,"decision":{"scale":null}}}]}"#;
        assert_eq!(decision(unknown), None);
    }
}
