//! The rules that can be removed from core, and the guard that keeps the others out meanwhile.

use std::sync::{Mutex, PoisonError};

use peerloom_core::broken::{self, Rule};

/// Every rule, with the name that the executable model of the design gives it.
pub const RULES: [(&str, Rule); 8] = [
    ("session_identity", Rule::SessionIdentity),
    ("checkpoint_fits", Rule::CheckpointFits),
    ("checkpoint_end", Rule::CheckpointEnd),
    ("knowledge_only_when_complete", Rule::KnowledgeOnlyWhenComplete),
    ("knowledge_not_on_filtered", Rule::KnowledgeNotOnFiltered),
    ("seen_context", Rule::SeenContext),
    ("context_in_merge", Rule::ContextInMerge),
    ("vouch_per_origin", Rule::VouchPerOrigin),
];

/// The rule of this name.
pub fn rule_named(name: &str) -> Option<Rule> {
    RULES.into_iter().find(|(other, _)| *other == name).map(|(_, rule)| rule)
}

/// Does something while a rule is removed from core, in all of this process. One rule at a time.
pub fn without<T>(rule: Rule, act: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _restored = Restored;
    broken::remove(Some(rule));
    act()
}

/// Puts the rule back, also if a test fails meanwhile.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        broken::remove(None);
    }
}
