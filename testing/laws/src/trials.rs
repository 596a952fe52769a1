//! How many random cases something is tried on, and which.

use crate::laws::LawsError;

/// As the program says, unless the environment says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trials {
    pub(crate) cases: u64,
    pub(crate) seed: u64,
}

impl Default for Trials {
    fn default() -> Self {
        Self { cases: 256, seed: 0 }
    }
}

impl Trials {
    /// What counts: the environment variables `CASES` and `SEED`, where they are set.
    pub(crate) fn now(self) -> Result<Self, LawsError> {
        let cases = variable("CASES")?.unwrap_or(self.cases);
        let seed = variable("SEED")?.unwrap_or(self.seed);
        Ok(Self { cases, seed })
    }
}

fn variable(name: &'static str) -> Result<Option<u64>, LawsError> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.to_string_lossy().into_owned();
    value.parse().map(Some).map_err(|_| LawsError::Variable { name, value })
}
