//! Where random bytes come from: the system, or whatever a simulator chooses.

use std::fmt;
use std::sync::Arc;

/// Fills a buffer.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// A source of random bytes.
#[derive(Clone)]
pub(crate) struct Random(Arc<Fill>);

impl Random {
    pub(crate) fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    pub(crate) fn system() -> Self {
        Self::new(|buffer| getrandom::fill(buffer).expect("the system has randomness"))
    }

    pub(crate) fn bytes<const COUNT: usize>(&self) -> [u8; COUNT] {
        let mut bytes = [0; COUNT];
        (self.0)(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Random")
    }
}
