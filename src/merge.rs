//! Conflict handling on Rust types.
//!
//! A type says how its versions merge; what it does not know of a document is kept. Nothing here is asynchronous or touches a
//! collection: it is [`MergeJson`] with serde on both sides.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, MergeJson, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A type whose concurrent versions merge.
///
/// ```
/// use peerloom::{Merge, MergeTyped};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Todo {
///     title: String,
///     done: bool,
/// }
///
/// impl Merge for Todo {
///     fn merge(mut self, versions: &[Self]) -> Self {
///         // Whoever finished it, finished it. The title is from whoever changed it last.
///         self.done = versions.iter().any(|todo| todo.done);
///         self
///     }
/// }
///
/// # async fn open(node: peerloom::Node) -> Result<(), peerloom::OpenError> {
/// let todos = node.collection::<Todo>("todos").handler(MergeTyped::<Todo>::new("todo-1")).open().await?;
/// # Ok(())
/// # }
/// ```
pub trait Merge: Serialize + DeserializeOwned + 'static {
    /// What applications see of concurrent versions.
    ///
    /// `self` is the field-wise merge, as of [`FieldWise`](peerloom_core::FieldWise): each field from the last write that changed it. `versions` are
    /// what it was made of, oldest first; each holds old values of the fields that its writer did not touch. So return `self` with what
    /// should be different.
    ///
    /// Must be pure: no clock, no randomness, no order of a hash map.
    #[must_use]
    fn merge(self, versions: &[Self]) -> Self;
}

/// The conflict handler of a type that says how it merges.
///
/// **Choose it** when a rule is easier said in Rust than with [`PerField`](peerloom_core::PerField). **Choose another** when no rule is needed
/// beyond [`FieldWise`](peerloom_core::FieldWise), or when programs in other languages replicate the same collection and would have to
/// follow the rule as well.
///
/// # What does not fit the type
///
/// - Where a version that is not deleted is not a `T`, the last write wins, as a whole.
/// - Where each version is a `T`, but the field-wise merge is not, because one removed an object in which another set a field,
///   [`Merge::merge`] is called on the last version instead.
/// - Fields that `T` does not have are merged field-wise and kept, in nested objects too; within arrays they are not. A field that `T` has and
///   leaves out when it writes, such as an empty list under `skip_serializing_if`, counts as one that it does not have.
///
/// The last write decides whether the document is deleted; see [`DeleteWins`](peerloom_core::DeleteWins) and [`EditWins`](peerloom_core::EditWins).
pub struct MergeTyped<T> {
    inner: Arc<dyn ConflictHandler>,
    of: PhantomData<fn(T) -> T>,
}

impl<T: Merge> MergeTyped<T> {
    /// A handler with this id, 1 to 255 bytes, which names how `T` merges: change it when that changes.
    pub fn new(id: impl Into<String>) -> Self {
        Self { inner: Arc::new(MergeJson::new(id, merge::<T>)), of: PhantomData }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: Merge> ConflictHandler for MergeTyped<T> {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn resolve(&self, heads: &[Head]) -> State {
        self.inner.resolve(heads)
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        self.inner.annotate(seen, next, dot)
    }
}

impl<T> Clone for MergeTyped<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for MergeTyped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("MergeTyped").field(&self.inner.id()).finish()
    }
}

/// `None` where a version is no `T`.
fn merge<T: Merge>(fields: Value, versions: &[Value]) -> Option<Value> {
    let typed = versions.iter().map(read::<T>).collect::<Option<Vec<T>>>()?;
    let (fields, merged) = match read::<T>(&fields) {
        Some(merged) => (fields, merged),
        None => (versions.last()?.clone(), read(versions.last()?)?),
    };
    let known = serde_json::to_value(&merged).ok()?;
    let mut result = serde_json::to_value(merged.merge(&typed)).ok()?;
    keep_unknown(&mut result, fields, &known);
    Some(result)
}

fn read<T: Merge>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Puts back the fields that were lost because the type does not know them.
fn keep_unknown(result: &mut Value, fields: Value, known: &Value) {
    let (Value::Object(result), Value::Object(fields), Value::Object(known)) = (result, fields, known) else {
        return;
    };
    for (key, field) in fields {
        match (known.get(&key), result.get_mut(&key)) {
            (Some(known), Some(result)) => keep_unknown(result, field, known),
            (None, None) => drop(result.insert(key, field)),
            // Left out on purpose, or set although it was unknown.
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}
