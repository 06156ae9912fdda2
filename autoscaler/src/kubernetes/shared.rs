//! Names that many objects have in common, each kept once: what walks over tens of thousands of pods then finds the names of
//! their nodes and workloads in the processor's cache.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use foldhash::fast::RandomState;

/// So many names are kept, at most twice: those that were asked for of late, and those before.
const KEPT_MAX: usize = 1 << 14;

/// Names of one kind. One that nobody asked for in a while is forgotten; who has it still keeps it.
pub(super) struct Shared<T>(Mutex<Names<T>>);

struct Names<T> {
    recent: HashSet<T, RandomState>,
    before: HashSet<T, RandomState>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(Names { recent: HashSet::default(), before: HashSet::default() }))
    }
}

impl<T: Clone + Eq + Hash> Shared<T> {
    /// The one that is kept of this name.
    pub(super) fn one_of(&self, name: T) -> T {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = names.recent.get(&name) {
            return kept.clone();
        }
        let kept = names.before.take(&name).unwrap_or(name);
        if names.recent.len() >= KEPT_MAX {
            names.before = std::mem::take(&mut names.recent);
        }
        names.recent.insert(kept.clone());
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_name_is_kept_once_while_it_is_asked_for() {
        let shared = Shared::<Arc<str>>::default();
        let ask = |name: &str| shared.one_of(name.into());
        let first = ask("a");
        assert!(Arc::ptr_eq(&first, &ask("a")));
        let fill = |from: usize| (from..from + KEPT_MAX).for_each(|n| drop(ask(&n.to_string())));
        fill(0);
        assert!(Arc::ptr_eq(&first, &ask("a")), "it was among those before");
        fill(KEPT_MAX);
        fill(2 * KEPT_MAX);
        assert!(!Arc::ptr_eq(&first, &ask("a")));
        let names = shared.0.lock().unwrap();
        assert!(names.recent.len() <= KEPT_MAX && names.before.len() <= KEPT_MAX);
    }
}
