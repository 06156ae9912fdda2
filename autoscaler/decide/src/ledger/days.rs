//! Days, in UTC, as bills have them: which there are in a time, and how many of them are told one by one.

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

/// A day; none for all that lies before the days that are told one by one.
pub(super) type Day = Option<Date>;

/// So many days are told one by one, the last included: two months, whatever their lengths.
pub(super) const DAYS_MAX: i64 = 62;

pub(super) fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Its first moment.
pub(super) fn midnight(day: Date) -> Timestamp {
    first_moment(day).unwrap_or(Timestamp::MIN)
}

/// The first moment after it.
pub(super) fn end_of(day: Date) -> Timestamp {
    day.tomorrow().ok().and_then(first_moment).unwrap_or(Timestamp::MAX)
}

/// None at the ends of time, where a day is not whole.
fn first_moment(day: Date) -> Option<Timestamp> {
    day.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp())
}

/// The first moment of its month.
pub(super) fn month_of(at: Timestamp) -> Timestamp {
    midnight(day_of(at).first_of_month())
}

/// The first moment of the month after that of the last moment before `until`.
pub(super) fn month_after(until: Timestamp) -> Timestamp {
    let last = until.checked_sub(Span::new().nanoseconds(1)).unwrap_or(until);
    end_of(day_of(last).last_of_month())
}

/// The first day that is told by itself when a moment is the present.
pub(super) fn first_told(now: Timestamp) -> Date {
    let back = Span::new().days(DAYS_MAX - 1);
    day_of(now).checked_sub(back).unwrap_or(Date::MIN)
}

/// The time between two moments by days, in order; what lies before `first` in one piece. Nothing where it is no time.
pub(super) fn by_day(
    from: Timestamp,
    to: Timestamp,
    first: Date,
) -> impl Iterator<Item = (Timestamp, Timestamp, Day)> {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let day = day_of(at);
        let told = day >= first;
        let ends = if told { end_of(day) } else { midnight(first) }.min(to);
        let begins = std::mem::replace(&mut at, ends);
        Some((begins, ends, told.then_some(day)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_cover_the_time_and_what_is_long_ago_is_one_piece() {
        let first = "2026-02-28".parse().unwrap();
        let told = |from, to| -> Vec<_> {
            let days = by_day(at(from), at(to), first);
            days.map(|(_, to, day)| (to.to_string(), day.map(|day| day.to_string()))).collect()
        };
        let day = |day: &str| Some(day.to_owned());
        assert_eq!(
            told("2024-02-01T03:00:00Z", "2026-03-01T06:00:00Z"),
            [
                ("2026-02-28T00:00:00Z".to_owned(), None),
                ("2026-03-01T00:00:00Z".to_owned(), day("2026-02-28")),
                ("2026-03-01T06:00:00Z".to_owned(), day("2026-03-01")),
            ]
        );
        assert_eq!(told("2026-03-01T06:00:00Z", "2026-03-01T06:00:00Z"), []);
    }

    #[test]
    fn the_ends_of_time_are_borne() {
        let all = by_day(Timestamp::MIN, Timestamp::MAX, first_told(Timestamp::MAX));
        assert_eq!(all.count(), DAYS_MAX as usize + 1, "and one piece before them");
    }

    #[test]
    fn a_month_is_whole() {
        assert_eq!(month_of(at("2026-02-28T23:59:59Z")), at("2026-02-01T00:00:00Z"));
        assert_eq!(month_after(at("2026-02-28T23:59:59Z")), at("2026-03-01T00:00:00Z"));
        assert_eq!(month_after(at("2026-03-01T00:00:00Z")), at("2026-03-01T00:00:00Z"));
    }
}
