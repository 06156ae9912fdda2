//! The notices that stand for a node, as its annotation [`super::NOTICES`] keeps them. Who learns of one writes it there,
//! whatever the source; who decides reads it there and nowhere else. So two sources, a message that comes twice, a
//! restart and a new leader are all the same notice.

use std::collections::BTreeMap;

use serde_json::Value;
use spotscale_decide::cluster::NoticeKind;

/// What an annotation says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) kinds: Vec<NoticeKind>,
    /// Something in it is no notice.
    pub(super) is_malformed: bool,
}

/// Reads an annotation. What is no notice is left out.
pub(super) fn read(annotation: Option<&str>) -> Standing {
    let Some(text) = annotation else {
        return Standing::default();
    };
    let Ok(entries) = serde_json::from_str::<Vec<Value>>(text) else {
        return Standing { kinds: vec![], is_malformed: true };
    };
    let given = entries.len();
    let kinds: Vec<_> =
        entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect();
    Standing { is_malformed: kinds.len() < given, kinds: merge(&[], &kinds) }
}

/// How an annotation spells notices.
pub(super) fn write(kinds: &[NoticeKind]) -> String {
    let entries = kinds.iter().map(|kind| serde_json::to_value(kind).unwrap_or_default());
    entries.collect::<Value>().to_string()
}

/// What stands when these are told: one of each kind, with the earliest deadline that was ever said. A metadata service
/// whose deadline moves with the clock is believed once.
pub(super) fn merge(standing: &[NoticeKind], told: &[NoticeKind]) -> Vec<NoticeKind> {
    let mut by_kind: BTreeMap<&str, NoticeKind> = BTreeMap::new();
    for kind in standing.iter().chain(told) {
        let earliest = by_kind.entry(kind.kind()).or_insert(*kind);
        // Of one kind, the earlier deadline is the lesser.
        *earliest = (*earliest).min(*kind);
    }
    let mut merged: Vec<_> = by_kind.into_values().collect();
    merged.sort();
    merged
}

/// What stands when maintenance is called off. Nothing else ever is.
pub(super) fn withdraw_maintenance(standing: &[NoticeKind]) -> Vec<NoticeKind> {
    let stays = |kind: &&NoticeKind| !matches!(kind, NoticeKind::Maintenance { .. });
    standing.iter().filter(stays).copied().collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn interruption(second: i64) -> NoticeKind {
        NoticeKind::Interruption { deadline: at(second) }
    }

    fn maintenance(second: i64) -> NoticeKind {
        NoticeKind::Maintenance { deadline: at(second) }
    }

    #[test]
    fn of_one_kind_the_earliest_deadline_stands_whatever_the_order() {
        let table: [(&[NoticeKind], &[NoticeKind], &[NoticeKind]); 6] = [
            (&[], &[], &[]),
            (&[], &[interruption(120)], &[interruption(120)]),
            (&[interruption(120)], &[interruption(121)], &[interruption(120)]),
            (&[interruption(120)], &[interruption(119)], &[interruption(119)]),
            (
                &[NoticeKind::Rebalance],
                &[interruption(5), NoticeKind::Rebalance],
                &[interruption(5), NoticeKind::Rebalance],
            ),
            (&[maintenance(9)], &[interruption(99)], &[interruption(99), maintenance(9)]),
        ];
        for (standing, told, expected) in table {
            assert_eq!(merge(standing, told), expected, "{standing:?} and {told:?}");
            assert_eq!(merge(told, standing), expected, "{told:?} and {standing:?}");
            let once = merge(standing, told);
            assert_eq!(merge(&once, told), once, "told twice");
        }
    }

    #[test]
    fn only_maintenance_is_called_off() {
        let all = [interruption(5), NoticeKind::Rebalance, maintenance(9)];
        assert_eq!(withdraw_maintenance(&all), [interruption(5), NoticeKind::Rebalance]);
    }

    #[test]
    fn an_annotation_says_what_was_written_and_what_is_malformed_is_left_out() {
        let kinds = merge(&[], &[interruption(5), NoticeKind::Rebalance, maintenance(9)]);
        assert_eq!(read(Some(&write(&kinds))), Standing { kinds, is_malformed: false });
        assert_eq!(read(None), Standing::default());
        let rebalance = vec![NoticeKind::Rebalance];
        let half = r#"[{"kind":"rebalance"},{"kind":"flood"},7]"#;
        assert_eq!(read(Some(half)), Standing { kinds: rebalance, is_malformed: true });
        for wrong in ["", "{}", "x", "null"] {
            assert!(read(Some(wrong)).is_malformed, "{wrong}");
        }
    }
}
