//! From a model's output to ranked classes. Pure.

/// One class and how sure the model is of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    /// Position in the model's output.
    pub(crate) index: usize,
    /// Probability, 0 to 1.
    pub(crate) score: f32,
}

/// Whether `row` already sums to one, so that the model ends in a softmax of its own.
pub(crate) fn are_probabilities(row: &[f32]) -> bool {
    let sum: f32 = row.iter().sum();
    row.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 1e-3
}

/// Turns logits into probabilities, in place.
pub(crate) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        // Less the largest, so that the exponential of a large logit does not overflow.
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in row.iter_mut() {
        *value /= sum;
    }
}

/// The `count` best classes, best first; among equals the first class wins.
pub(crate) fn top(row: &[f32], count: usize) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> =
        row.iter().enumerate().map(|(index, &score)| Ranked { index, score }).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(count);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_gives_probabilities_even_for_huge_logits() {
        let mut row = [1000.0, 999.0, -1000.0];
        assert!(!are_probabilities(&row));
        softmax(&mut row);
        assert!(are_probabilities(&row));
        let expected = 1.0 / (1.0 + (-1.0_f32).exp());
        assert!((row[0] - expected).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn logits_are_not_taken_for_probabilities() {
        assert!(!are_probabilities(&[0.2, 0.2, 0.2]));
        assert!(!are_probabilities(&[1.5, -0.5]));
        assert!(!are_probabilities(&[f32::NAN, 1.0]));
    }

    #[test]
    fn the_best_come_first_and_ties_keep_their_order() {
        let best = top(&[0.1, 0.4, 0.1, 0.4], 3);
        let indices: Vec<usize> = best.iter().map(|ranked| ranked.index).collect();
        assert_eq!(indices, [1, 3, 0]);
        assert_eq!(top(&[0.5, 0.5], 9).len(), 2);
    }
}
