//! RxDB's two-sided conflict handler, and the one it uses when the application brings none.

use serde_json::{Number, Value};

/// What an RxDB application decides about two states of one document: its `RxConflictHandler`.
///
/// States are the user's fields and `_deleted`. `is_equal` is asked on both sides of a link, also where nothing is in conflict;
/// `resolve` runs on the fork only, which then pushes what it returns.
///
/// # To ensure that a mesh settles
///
/// Which of two peers is the fork is decided by a hash and differs from link to link. A handler should therefore give the same
/// answer when the two states change places. That alone does not suffice: [`check`](crate::check) tries the protocol.
///
/// # Closures
///
/// A closure with the arguments of `resolve` is a handler whose `is_equal` is [`deep_equal`], as RxDB's is by default:
///
/// ```
/// # use peerloom_rxdb_mesh::RxdbConflictHandler;
/// # use serde_json::{Value, json};
/// let latest = |real: &Value, new: &Value, _assumed: Option<&Value>| {
///     let rank = |state: &Value| (state["updatedAt"].as_u64(), state.to_string());
///     if rank(new) > rank(real) { new.clone() } else { real.clone() }
/// };
/// assert_eq!(latest.resolve(&json!({ "updatedAt": 1 }), &json!({ "updatedAt": 2 }), None)["updatedAt"], 2);
/// ```
pub trait RxdbConflictHandler: Send + Sync {
    /// Whether the two states are the same for replication.
    fn is_equal(&self, a: &Value, b: &Value) -> bool;

    /// The state that the fork takes and offers to its master. `real_master_state` is what the master has, `new_document_state`
    /// what the fork wanted to push, `assumed_master_state` what the fork believed that the master had, if it knew of any.
    fn resolve(
        &self,
        real_master_state: &Value,
        new_document_state: &Value,
        assumed_master_state: Option<&Value>,
    ) -> Value;
}

impl<F> RxdbConflictHandler for F
where
    F: Fn(&Value, &Value, Option<&Value>) -> Value + Send + Sync,
{
    fn is_equal(&self, a: &Value, b: &Value) -> bool {
        deep_equal(a, b)
    }

    fn resolve(&self, real: &Value, new: &Value, assumed: Option<&Value>) -> Value {
        self(real, new, assumed)
    }
}

/// RxDB's default: states are equal when all their fields are, and the fork drops its own state for the master's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MasterWins;

impl RxdbConflictHandler for MasterWins {
    fn is_equal(&self, a: &Value, b: &Value) -> bool {
        deep_equal(a, b)
    }

    fn resolve(&self, real_master_state: &Value, _: &Value, _: Option<&Value>) -> Value {
        real_master_state.clone()
    }
}

/// Whether JavaScript would find the two values deeply equal: the order of keys does not matter, and `1` is `1.0`.
pub fn deep_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || number(a) == number(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| deep_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let found = |(key, a)| b.get(key).is_some_and(|b| deep_equal(a, b));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => a == b,
    }
}

/// The number as JavaScript holds it.
fn number(number: &Number) -> Option<f64> {
    number.as_f64()
}
