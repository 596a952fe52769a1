//! A part of a state that most steps leave alone: shared until it is changed, and hashed once.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value that states share. A state is copied for every step, and a step changes a small part of it.
pub(crate) struct Shared<T>(Arc<Part<T>>);

struct Part<T> {
    value: T,
    fingerprint: OnceLock<u64>,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Part { value, fingerprint: OnceLock::new() }))
    }
}

impl<T: Clone> Shared<T> {
    /// The value, for this state alone.
    pub(crate) fn edit(&mut self) -> &mut T {
        let part = Arc::make_mut(&mut self.0);
        part.fingerprint.take();
        &mut part.value
    }
}

impl<T: Clone> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), fingerprint: OnceLock::new() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let fingerprint = self.0.fingerprint.get_or_init(|| fingerprint(&self.0.value));
        hasher.write_u64(*fingerprint);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(formatter)
    }
}

/// The same in every run: the hasher has no random key.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
