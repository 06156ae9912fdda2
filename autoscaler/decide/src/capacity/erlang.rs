//! Erlang's C formula: the probability that all slots of an M/M/k queue are busy, so that an arrival waits.

/// Where the recursion starts, in standard deviations of the offered load below it.
const START_DEVIATIONS: f64 = 10.0;

/// The probability of waiting with `offered` slots' worth of load on `slots` slots; 1 where the load is too much.
///
/// Reckoned through the inverse of Erlang's B, `I(k) = 1 + k / a * I(k - 1)`, which has no factorials and no differences.
/// Below the offered load each step shrinks an error by `k / a`, so starting ten deviations below it, at the fluid limit
/// `a / (a - k)`, loses nothing: together those steps shrink the error by a factor of about `exp(-50)`.
pub(super) fn waits(offered: f64, slots: f64) -> f64 {
    if offered >= slots {
        return 1.0;
    }
    let slots_whole = slots as u64;
    let start = (offered - START_DEVIATIONS * offered.sqrt()).max(0.0) as u64;
    let mut inverse = if start == 0 { 1.0 } else { offered / (offered - start as f64) };
    for k in start + 1..=slots_whole {
        inverse = 1.0 + k as f64 / offered * inverse;
        if inverse > 1e30 {
            return 0.0;
        }
    }
    let utilisation = offered / slots;
    1.0 / (inverse * (1.0 - utilisation) + utilisation)
}

#[cfg(test)]
mod tests {
    use super::waits;

    /// The textbook form, exact for small numbers.
    fn by_sums(offered: f64, slots: u32) -> f64 {
        let term = |k: u32| (1..=k).fold(1.0, |product, i| product * offered / f64::from(i));
        let full = term(slots) * f64::from(slots) / (f64::from(slots) - offered);
        full / ((0..slots).map(term).sum::<f64>() + full)
    }

    #[test]
    fn it_equals_the_textbook_sums() {
        for slots in 1..=100 {
            for utilisation in [0.01, 0.3, 0.7, 0.9, 0.999] {
                let offered = f64::from(slots) * utilisation;
                let (ours, theirs) = (waits(offered, f64::from(slots)), by_sums(offered, slots));
                assert!((ours - theirs).abs() < 1e-9, "{slots} {utilisation}: {ours} {theirs}");
            }
        }
    }

    #[test]
    fn a_late_start_equals_the_whole_recursion() {
        for offered in [500.0, 5000.0] {
            let slots = offered + 2.0 * f64::sqrt(offered);
            let whole =
                (1..=slots as u64).fold(1.0, |inverse, k| 1.0 + k as f64 / offered * inverse);
            let exact = 1.0 / (whole * (1.0 - offered / slots) + offered / slots);
            assert!((waits(offered, slots) - exact).abs() < 1e-12);
        }
    }

    #[test]
    fn it_stays_a_probability_at_any_size() {
        assert!((waits(3.0, 3.0) - 1.0).abs() < f64::EPSILON);
        for (offered, slots) in [(1e-300, 1.0), (1.0, 1e7), (1e7, 1e7 + 1.0), (1e7, 1.1e7)] {
            assert!((0.0..=1.0).contains(&waits(offered, slots)), "{offered} {slots}");
        }
    }
}
