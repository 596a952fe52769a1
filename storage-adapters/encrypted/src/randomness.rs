//! Where keys, salts and nonces come from.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cipher::{NONCE_BYTES, Nonce};
use crate::secret::KeyBytes;

/// A source of bytes that nobody can predict and that does not repeat itself.
#[derive(Clone)]
pub(crate) struct Randomness(Arc<dyn Source>);

trait Source: Send + Sync {
    fn fill(&self, buffer: &mut [u8]);
}

impl<F: Fn(&mut [u8]) + Send + Sync> Source for F {
    fn fill(&self, buffer: &mut [u8]) {
        self(buffer);
    }
}

impl Randomness {
    pub(crate) fn of_system() -> Self {
        Self::new(|buffer| getrandom::fill(buffer).expect("the system has randomness"))
    }

    pub(crate) fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    pub(crate) fn key(&self) -> KeyBytes {
        let mut key = Zeroizing::new([0; 32]);
        self.0.fill(&mut *key);
        key
    }

    pub(crate) fn nonce(&self) -> Nonce {
        self.bytes()
    }

    /// Many at once, which the system gives faster than many times one.
    pub(crate) fn nonces(&self, count: usize) -> Vec<Nonce> {
        let mut bytes = vec![0; count * NONCE_BYTES];
        self.0.fill(&mut bytes);
        bytes.as_chunks().0.to_vec()
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Randomness")
    }
}
