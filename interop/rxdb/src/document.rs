//! Documents as RxDB has them, and as Peerloom does.
//!
//! RxDB's is one object: the fields, the primary key among them, and `_deleted`. Peerloom's is an id, whether it is
//! deleted, and a body. The body holds all of RxDB's fields but `_deleted`, so that nothing is lost on the way; in a body that a Peerloom
//! application wrote, the primary key may be missing, and RxDB gets to see the document's id there.

use bytes::Bytes;
use peerloom_core::{DocumentId, PastView, PastViews, State, json, view_digest};
use serde_json::{Map, Number, Value};

/// The field that says whether a document is deleted.
const DELETED: &str = "_deleted";

/// Fields that RxDB keeps for itself.
const RESERVED: [&str; 4] = [DELETED, "_rev", "_meta", "_attachments"];

/// The largest integer of which a double holds all smaller ones.
const INTEGER_MAX: u64 = 1 << 53;

/// Why a document cannot cross over. It stays where it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The body is not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The field that is the primary key holds something else than the document's id.
    #[error("the primary key {field:?} is not the document's id")]
    PrimaryKey {
        /// The field.
        field: String,
    },
    /// A field that RxDB keeps for itself.
    #[error("the field {field:?} is RxDB's own")]
    Reserved {
        /// The field.
        field: String,
    },
    /// An integer that JavaScript would round.
    #[error("the integer {literal} would be rounded by JavaScript")]
    Integer {
        /// The integer.
        literal: String,
    },
    /// The state that a peer sent is no document: an object without `_deleted`, or without a primary key that can be a document's id.
    #[error("not a document")]
    NotADocument,
    /// The store refuses it.
    #[error("{detail}")]
    Refused {
        /// Why.
        detail: String,
    },
}

/// A state of a document that an RxDB peer sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incoming {
    /// The document.
    pub id: DocumentId,
    /// Whether it is deleted.
    pub deleted: bool,
    /// All its fields, in canonical form.
    pub body: Bytes,
    /// The same without the primary key.
    bare: Bytes,
}

impl Incoming {
    /// Reads a document from a message. `primary_key` is the field that holds its id.
    ///
    /// # Errors
    ///
    /// [`Unfit::NotADocument`].
    pub fn from_value(value: Value, primary_key: &str) -> Result<Self, Unfit> {
        let Value::Object(mut fields) = value else { return Err(Unfit::NotADocument) };
        let deleted = match fields.remove(DELETED) {
            Some(Value::Bool(deleted)) => deleted,
            None => false,
            Some(_) => return Err(Unfit::NotADocument),
        };
        let id = fields.get(primary_key).and_then(Value::as_str).ok_or(Unfit::NotADocument)?;
        let id = DocumentId::new(id).map_err(|_| Unfit::NotADocument)?;
        let canonical = |fields: Map<String, Value>| {
            json::to_canonical(&Value::Object(fields)).map_err(|_| Unfit::NotADocument)
        };
        let body = canonical(fields.clone())?;
        fields.remove(primary_key);
        Ok(Self { id, deleted, body, bare: canonical(fields)? })
    }

    /// Whether applications see the same in a state. What a Peerloom application removed has no body left; whatever
    /// is deleted is equal to that.
    pub fn equals(&self, state: &State) -> bool {
        self.deleted == state.deleted
            && (state.body == self.body
                || state.body == self.bare
                || (state.deleted && state.body.is_empty()))
    }

    /// The oldest of a document's past views that is equal to this, and not covered by what the peer is known to have.
    pub(crate) fn among<'p>(
        &self,
        past: &'p PastViews,
        known: impl Fn(&PastView) -> bool,
    ) -> Option<&'p PastView> {
        let mut digests = vec![view_digest(self.deleted, &self.body), view_digest(self.deleted, &self.bare)];
        if self.deleted {
            digests.push(view_digest(true, b""));
        }
        past.views.iter().find(|view| digests.contains(&view.digest) && !known(view))
    }
}

/// A document as RxDB has it, as JSON. `last_body` gives the fields of one that was removed.
///
/// # Errors
///
/// Why RxDB cannot hold it.
pub fn to_rxdb(
    id: &DocumentId,
    state: &State,
    last_body: &Bytes,
    primary_key: &str,
) -> Result<String, Unfit> {
    let body = if state.deleted && state.body.is_empty() { last_body } else { &state.body };
    let fields = match body.is_empty() {
        true if state.deleted => Map::new(),
        _ => match json::parse(body) {
            Ok(Value::Object(fields)) => fields,
            _ => return Err(Unfit::NotAnObject),
        },
    };
    if let Some(field) = RESERVED.iter().find(|field| fields.contains_key(**field)) {
        return Err(Unfit::Reserved { field: (*field).to_owned() });
    }
    fields.values().try_for_each(check_numbers)?;
    let mut text = String::with_capacity(body.len() + 64);
    match fields.get(primary_key) {
        Some(Value::String(key)) if key == id.as_str() => {
            let text_of_body = std::str::from_utf8(body).map_err(|_| Unfit::NotAnObject)?;
            let open = text_of_body.trim_end().strip_suffix('}').ok_or(Unfit::NotAnObject)?;
            text.push_str(open);
        }
        Some(_) => return Err(Unfit::PrimaryKey { field: primary_key.to_owned() }),
        None => {
            let quoted = crate::message::quoted;
            text.push_str(&format!("{{{}:{}", quoted(primary_key), quoted(id.as_str())));
            if !fields.is_empty() {
                let canonical = json::to_canonical(&Value::Object(fields)).map_err(|_| Unfit::NotAnObject)?;
                let canonical = std::str::from_utf8(&canonical).expect("canonical JSON is UTF-8");
                text.push(',');
                text.push_str(&canonical[1..canonical.len() - 1]);
            }
        }
    }
    text.push_str(if state.deleted { r#","_deleted":true}"# } else { r#","_deleted":false}"# });
    Ok(text)
}

fn check_numbers(value: &Value) -> Result<(), Unfit> {
    match value {
        Value::Number(number) if !survives_javascript(number) => {
            Err(Unfit::Integer { literal: number.to_string() })
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

/// Whether JavaScript prints the number as it read it.
fn survives_javascript(number: &Number) -> bool {
    let magnitude = match (number.as_u64(), number.as_i64()) {
        (Some(natural), _) => natural,
        (None, Some(negative)) => negative.unsigned_abs(),
        (None, None) => return true,
    };
    magnitude <= INTEGER_MAX || {
        let double = number.as_f64().and_then(Number::from_f64).map(Value::Number);
        let printed = double.and_then(|double| json::to_canonical(&double).ok());
        printed.is_some_and(|printed| printed == number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id() -> DocumentId {
        DocumentId::new("milk").expect("an id")
    }

    fn state(deleted: bool, body: &'static str) -> State {
        State { deleted, body: Bytes::from_static(body.as_bytes()), annotations: Bytes::new() }
    }

    fn sent(state: &State) -> Result<Value, Unfit> {
        let text = to_rxdb(&id(), state, &Bytes::from_static(br#"{"done":true}"#), "id")?;
        Ok(serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn what_crosses_over_and_back_is_the_same() {
        for body in [
            r#"{"id":"milk"}"#,
            r#"{"id":"milk","list":[[1,[2,null]],{"a":null}],"n":-0.5,"zero":0}"#,
            r#"{"big":9007199254740992,"huge":12345678901234567000,"id":"milk","x":1e+300}"#,
            r#"{"id":"milk","text":"Éclair 😀 \u0001 \" \\"}"#,
        ] {
            for deleted in [false, true] {
                let state = state(deleted, body);
                let value = sent(&state).expect("RxDB can hold it");
                let back = Incoming::from_value(value, "id").expect("a document");
                assert_eq!((back.deleted, &back.body, &back.id), (deleted, &state.body, &id()));
                assert!(back.equals(&state));
            }
        }
    }

    #[test]
    fn a_body_without_the_primary_key_gets_it_and_is_still_equal() {
        let state = state(false, r#"{"done":false}"#);
        let value = sent(&state).expect("RxDB can hold it");
        assert_eq!(value, json!({ "id": "milk", "done": false, "_deleted": false }));
        assert!(Incoming::from_value(value, "id").expect("a document").equals(&state));
    }

    #[test]
    fn what_was_removed_is_sent_with_the_fields_it_had() {
        let removed = state(true, "");
        let value = sent(&removed).expect("RxDB can hold it");
        assert_eq!(value, json!({ "id": "milk", "done": true, "_deleted": true }));
        assert!(Incoming::from_value(value, "id").expect("a document").equals(&removed));
    }

    #[test]
    fn what_rxdb_cannot_hold_stays_out_of_its_sight() {
        let field = |field: &str| field.to_owned();
        assert_eq!(sent(&state(false, "[1]")), Err(Unfit::NotAnObject));
        assert_eq!(sent(&state(false, "")), Err(Unfit::NotAnObject));
        let binary = State { body: Bytes::from_static(&[0x85, 0x6f]), ..State::default() };
        assert_eq!(sent(&binary), Err(Unfit::NotAnObject));
        assert_eq!(sent(&state(false, r#"{"id":7}"#)), Err(Unfit::PrimaryKey { field: field("id") }));
        assert_eq!(sent(&state(false, r#"{"_rev":"1"}"#)), Err(Unfit::Reserved { field: field("_rev") }));
        let rounded = sent(&state(false, r#"{"n":[9007199254740993]}"#));
        assert_eq!(rounded, Err(Unfit::Integer { literal: field("9007199254740993") }));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for value in [
            json!(1),
            json!({}),
            json!({ "id": 1 }),
            json!({ "id": "" }),
            json!({ "id": "a", "_deleted": 1 }),
        ] {
            assert_eq!(Incoming::from_value(value, "id"), Err(Unfit::NotADocument));
        }
    }
}
