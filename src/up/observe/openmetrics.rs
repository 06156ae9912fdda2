//! Reads the samples of an `OpenMetrics` page, as far as our own roles write them: no timestamps, no exemplars.

/// One line: a name, its labels, a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) value: f64,
    labels: &'a str,
}

/// Every sample; lines that are none are left out.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.strip_suffix('}').unwrap_or(labels);
        Some(Sample { name, labels, value: value.parse().ok()? })
    })
}

impl<'a> Sample<'a> {
    /// The value of a label. None of ours holds a quote or a comma.
    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        let mut labels = self.labels.split(',').filter_map(|label| label.split_once('='));
        labels.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_read() {
        let page =
            "# TYPE a counter\na_total{code=\"200\",tier=\"cpu\"} 3\nheld 0.5\nnot a line\n# EOF\n";
        let all: Vec<_> = samples(page).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name, all[0].value), ("a_total", 3.0));
        assert_eq!((all[0].label("code"), all[0].label("tier")), (Some("200"), Some("cpu")));
        assert_eq!((all[1].name, all[1].label("code")), ("held", None));
    }
}
