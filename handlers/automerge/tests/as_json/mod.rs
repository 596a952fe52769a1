//! Automerge's handler for JSON, as the laws and the simulator need it.
//!
//! Both speak JSON, so the Automerge document stands in the annotations here, and the body is what it shows. A write is the differences
//! of fields, as an application would make them with [`edit`](peerloom_automerge::edit).

use bytes::Bytes;
use peerloom_automerge::MergeAutomerge;
use peerloom_automerge::automerge::transaction::{CommitOptions, Transactable};
use peerloom_automerge::automerge::{
    ActorId, AutoCommit, AutoSerde, AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue,
    Value as Found,
};
use peerloom_core::{ConflictHandler, Dot, Head, State, json};
use serde_json::{Map, Value};

pub(crate) struct AsJson;

impl ConflictHandler for AsJson {
    fn id(&self) -> &str {
        "automerge-as-json"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let body = |head: &Head| head.state.annotations.clone();
        let state = |head: &Head| State { body: body(head), annotations: Bytes::new(), ..head.state };
        let inner: Vec<Head> = heads.iter().map(|head| Head { dot: head.dot, state: state(head) }).collect();
        let view = MergeAutomerge.resolve(&inner);
        match shown(&view.body) {
            Some(body) => State { deleted: view.deleted, body, annotations: view.body },
            None => heads[heads.len() - 1].state.clone(),
        }
    }

    fn annotate(&self, seen: Option<&State>, next: &State, dot: Dot) -> Bytes {
        let mut document = seen.and_then(|seen| AutoCommit::load(&seen.annotations).ok()).unwrap_or_default();
        if !next.deleted {
            let Ok(Value::Object(fields)) = json::parse(&next.body) else { return Bytes::new() };
            let name = [dot.stamp.number(), dot.incarnation.number()].map(u64::to_be_bytes).concat();
            document.set_actor(ActorId::from(name));
            let Some(Value::Object(before)) = content(&document) else { return Bytes::new() };
            if change(&mut document, &ROOT, &before, &fields).is_err() {
                return Bytes::new();
            }
            document.commit_with(CommitOptions::default().with_time(0));
        }
        document.save().into()
    }
}

fn shown(automerge: &[u8]) -> Option<Bytes> {
    json::to_canonical(&content(&AutoCommit::load(automerge).ok()?)?).ok()
}

fn content(document: &AutoCommit) -> Option<Value> {
    serde_json::to_value(AutoSerde::from(document)).ok()
}

/// Makes the fields of an object these, touching only what differs.
fn change(
    document: &mut AutoCommit,
    object: &ObjId,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<(), AutomergeError> {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        document.delete(object, key.as_str())?;
    }
    for (key, value) in after {
        match (before.get(key), value, document.get(object, key.as_str())?) {
            (Some(before), _, _) if before == value => {}
            (
                Some(Value::Object(before)),
                Value::Object(after),
                Some((Found::Object(ObjType::Map), inner)),
            ) => {
                change(document, &inner, before, after)?;
            }
            _ => put(document, object, key.as_str().into(), value)?,
        }
    }
    Ok(())
}

fn put(document: &mut AutoCommit, object: &ObjId, place: Prop, value: &Value) -> Result<(), AutomergeError> {
    let scalar: ScalarValue = match value {
        Value::Object(fields) => {
            let inner = made(document, object, place, ObjType::Map)?;
            return fields
                .iter()
                .try_for_each(|(key, value)| put(document, &inner, key.as_str().into(), value));
        }
        Value::Array(items) => {
            let inner = made(document, object, place, ObjType::List)?;
            return items
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| put(document, &inner, index.into(), value));
        }
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => number.as_f64().expect("what is no integer is a float").into(),
        },
    };
    match place {
        Prop::Map(_) => document.put(object, place, scalar),
        Prop::Seq(index) => document.insert(object, index, scalar),
    }
}

fn made(
    document: &mut AutoCommit,
    object: &ObjId,
    place: Prop,
    kind: ObjType,
) -> Result<ObjId, AutomergeError> {
    match place {
        Prop::Map(_) => document.put_object(object, place, kind),
        Prop::Seq(index) => document.insert_object(object, index, kind),
    }
}
