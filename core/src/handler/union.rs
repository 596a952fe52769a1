//! Arrays as sets: what anybody added is there, unless somebody who had seen it took it out.
//!
//! An observed-remove set (Bieniusa, Zawirski, Preguiça, Shapiro, Baquero, Balegas, Duarte, "An optimized conflict-free replicated set",
//! 2012): every element has the dots of the writes that added it, and every version knows which additions its writer had seen. An
//! element that is missing from such a version was taken out of it.
//!
//! One thing differs from the paper. There, a version vector says what was seen. Here a writer may save an old draft, and has then not seen an
//! earlier write of his own incarnation; his own addition is therefore noted apart from the vector of what he read, and enters it with the next
//! write. That one has read all the versions of a replica, so it has seen whatever is older.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use serde_json::Value;

use super::combine::{canonical, whole_documents};
use super::stamped::Dots;
use super::{Combine, FieldHead, FieldState};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Dot;
use crate::id::Incarnation;
use crate::stamp::Stamp;
use crate::version_vector::Context;

/// The addition of elements of which nobody noted who added them.
fn unknown() -> Dot {
    Dot { incarnation: Incarnation::new(0), stamp: Stamp::new(1).expect("below 2^63") }
}

/// An array is a set: additions of all writers are there, and what a writer removed having seen it is gone.
///
/// An element that one removes while another adds it anew, not having seen the first, stays. Elements are the same if their canonical JSON
/// is: `1` and `1.0` are one element, `{"a":1,"b":2}` is the same in any order of keys. In a view of several versions the oldest additions come first, those
/// of one write in the order of their canonical JSON, and nothing is there twice.
///
/// **Choose it** for labels, members, favourites. **Choose another** where the order of the array is the application's, where elements may stand
/// twice, or where elements are objects that are edited: an edited element is another element, and both versions of it
/// would be there; keep such things in an object by their id, with [`FieldWise`](super::FieldWise).
///
/// ```
/// # use peerloom_core::*;
/// # use serde_json::json;
/// # let write = |number: u64, seen: Option<&State>, value: serde_json::Value| {
/// #     let dot = Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).unwrap() };
/// #     let mut state = State { body: json::to_canonical(&value).unwrap(), ..State::default() };
/// #     state.annotations = Union.annotate(seen, &state, dot);
/// #     Head { dot, state }
/// # };
/// let base = write(1, None, json!(["home", "urgent"]));
/// let ann = write(2, Some(&base.state), json!(["home"]));
/// let bob = write(3, Some(&base.state), json!(["home", "urgent", "garden"]));
/// assert_eq!(Union.resolve(&[ann, bob]).body, r#"["home","garden"]"#);
/// ```
///
/// As a handler of its own it takes documents that are arrays; mostly it is a rule of [`PerField`](super::PerField). A field that is
/// left out is an empty set, and shown as one if somebody else has it. Where one version holds something else than an array, the last version wins.
///
/// # What it costs
///
/// 18 bytes of annotations for every opening of a store that ever added something, and for every write whose elements are there,
/// and a byte for each element. Elements of versions that another handler wrote count as added by it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Union;

whole_documents!(Union);

impl Combine for Union {
    fn name(&self) -> &str {
        "union"
    }

    fn combine(&self, heads: &[FieldHead]) -> FieldState {
        let last = &heads.last().expect("a conflict has heads").state;
        if !heads.iter().all(|head| matches!(head.state.value, None | Some(Value::Array(_)))) {
            return last.clone();
        }
        let sets = heads.iter().map(|head| {
            Set::decode(&head.state).unwrap_or_else(|| Set {
                added: [head.dot.canonical()].into(),
                ..Set::of(elements(head.state.value.as_ref()), head.dot)
            })
        });
        let set = sets.reduce(Set::join).expect("a conflict has heads");
        let value = heads.iter().any(|head| head.state.value.is_some()).then(|| set.array());
        FieldState { annotations: set.encode(), value }
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let before = seen.map(|seen| {
            Set::decode(seen).unwrap_or_else(|| Set {
                seen: [(unknown().incarnation, unknown().stamp)].into_iter().collect(),
                ..Set::of(elements(seen.value.as_ref()), unknown())
            })
        });
        let mut set = before.unwrap_or_default();
        set.settle();
        let mut before = core::mem::take(&mut set.elements);
        for element in elements(next) {
            let key = canonical(element);
            let kept = before.remove(&key);
            if !set.elements.contains_key(&key) {
                let added = kept.unwrap_or_else(|| {
                    set.added.insert(dot.canonical());
                    Element { value: element.clone(), added: Vec::from([dot]) }
                });
                set.elements.insert(key, added);
            }
        }
        set.encode()
    }
}

fn elements(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[derive(Debug)]
struct Element {
    value: Value,
    /// The additions of it that were not removed, in canonical order. Never empty.
    added: Vec<Dot>,
}

#[derive(Debug, Default)]
struct Set {
    /// By canonical JSON.
    elements: BTreeMap<Bytes, Element>,
    /// The additions that were read, all those before each entry with it.
    seen: Context,
    /// Additions that were seen and say nothing of those before.
    added: BTreeSet<(Stamp, Incarnation)>,
}

impl Set {
    /// Elements all of which were added by one write.
    fn of(elements: &[Value], added: Dot) -> Self {
        let element =
            |value: &Value| (canonical(value), Element { value: value.clone(), added: Vec::from([added]) });
        Self { elements: elements.iter().map(element).collect(), ..Self::default() }
    }

    fn covers(&self, dot: Dot) -> bool {
        dot.is_in(&self.seen) || self.added.contains(&dot.canonical())
    }

    fn has(&self, key: &Bytes, dot: Dot) -> bool {
        self.elements.get(key).is_some_and(|element| element.added.contains(&dot))
    }

    /// Both together: an addition stays if both have it, or if the other has not seen it. Commutative, associative and idempotent.
    fn join(mut self, mut other: Self) -> Self {
        let mut mine = core::mem::take(&mut self.elements);
        let mut joined = BTreeMap::new();
        for (key, element) in &mut mine {
            element.added.retain(|dot| other.has(key, *dot) || !other.covers(*dot));
        }
        let theirs = core::mem::take(&mut other.elements);
        for (key, mut element) in theirs {
            let here = mine.remove(&key);
            let has = |dot: &Dot| here.as_ref().is_some_and(|here| here.added.contains(dot));
            element.added.retain(|dot| !has(dot) && !self.covers(*dot));
            if let Some(here) = here {
                element.added.extend(here.added);
                element.added.sort_unstable_by_key(Dot::canonical);
            }
            joined.insert(key, element);
        }
        joined.extend(mine);
        joined.retain(|_, element| !element.added.is_empty());
        self.seen.join(&other.seen);
        self.added.append(&mut other.added);
        let seen = &self.seen;
        self.added.retain(|&(stamp, incarnation)| !Dot { incarnation, stamp }.is_in(seen));
        Self { elements: joined, ..self }
    }

    /// Whoever writes has read all the versions of a replica, and with an addition whatever is older.
    fn settle(&mut self) {
        for (stamp, incarnation) in core::mem::take(&mut self.added) {
            self.seen.advance(incarnation, stamp);
        }
    }

    /// The oldest additions first.
    fn array(&self) -> Value {
        let mut elements: Vec<&Element> = self.elements.values().collect();
        // Stable: those of one write stay in the order of their canonical JSON.
        elements.sort_by_key(|element| element.added[0].canonical());
        elements.into_iter().map(|element| element.value.clone()).collect()
    }

    /// `[seen, added, [numbers of the additions of each element, in the order of canonical JSON], dots]`. One number alone stands for one
    /// addition, or for that of all elements.
    fn encode(&self) -> Bytes {
        let additions = || self.elements.values().map(|element| element.added.as_slice());
        let mut first = additions().next().filter(|first| first.len() == 1);
        if !additions().all(|added| Some(added) == first) {
            first = None;
        }
        let (mut writer, mut dots) = (Writer::with_capacity(32), Dots::default());
        writer.array(4).vector(&self.seen).array(2 * self.added.len());
        for &(stamp, incarnation) in &self.added {
            writer.dot(Dot { incarnation, stamp });
        }
        match first {
            Some(first) => write_additions(&mut writer, &mut dots, first),
            None => {
                writer.array(self.elements.len());
                additions().for_each(|added| write_additions(&mut writer, &mut dots, added));
            }
        }
        dots.write(&mut writer);
        writer.finish().into()
    }

    /// `None` where the annotations do not belong to the value.
    fn decode(state: &FieldState) -> Option<Self> {
        Self::read(&state.annotations, elements(state.value.as_ref())).ok()
    }

    fn read(annotations: &Bytes, elements: &[Value]) -> Result<Self, DecodeError> {
        let mut ahead = Reader::new(annotations);
        ahead.array_of(4)?;
        ahead.skip(3)?;
        let dots = ahead.dots()?;
        ahead.finish()?;
        let mut reader = Reader::new(annotations);
        reader.array_of(4)?;
        let seen: Context = reader.vector()?;
        let added = reader.dots()?.iter().map(Dot::canonical).collect();
        // The dot is replaced by what is read.
        let mut set = Self { seen, added, ..Self::of(elements, unknown()) };
        if !reader.at_array()? {
            let all = reader.place(&dots)?;
            set.elements.values_mut().for_each(|element| element.added = Vec::from([all]));
            return Ok(set);
        }
        reader.array_of(set.elements.len())?;
        for element in set.elements.values_mut() {
            element.added = reader.additions(&dots)?;
        }
        Ok(set)
    }
}

fn write_additions(writer: &mut Writer, dots: &mut Dots, added: &[Dot]) {
    if added.len() != 1 {
        writer.array(added.len());
    }
    for dot in added {
        writer.number(dots.place(*dot));
    }
}

impl Reader<'_> {
    fn additions(&mut self, dots: &[Dot]) -> Result<Vec<Dot>, DecodeError> {
        if !self.at_array()? {
            return Ok(Vec::from([self.place(dots)?]));
        }
        let items = self.array_of_at_least(1)? + 1;
        let mut added = (0..items).map(|_| self.place(dots)).collect::<Result<Vec<_>, _>>()?;
        added.sort_unstable_by_key(Dot::canonical);
        added.dedup();
        Ok(added)
    }
}
