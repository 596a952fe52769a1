//! A JSON value of which every field knows the write that set it: what [`FieldWise`](super::FieldWise) folds.
//!
//! An object is a function from every possible key to a value or to nothing, each with the dot of the write that made it so.
//! Joining takes for each key what has the later dot, so it is commutative, associative and idempotent, and it needs no base version.
//!
//! - A field that was removed keeps its dot: an explicit "nothing".
//! - All keys that an object does not mention have been absent since one dot, `absent_since`. It is [`UNKNOWN`] for an object that
//!   was never anything else, so that two writers who make it at the same time both put their fields into it.
//! - What replaces an object, or removes it, removes each field in it. A field that is set later than that survives, with the objects around
//!   it.
//!
//! The values are in the body; the annotations hold the dots alone, see [`Node::encode`].

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::combine::{canonical, same};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Dot;
use crate::id::Incarnation;
use crate::stamp::Stamp;

/// The write of a value of which nobody noted it: earlier than every other.
pub(super) const UNKNOWN: Dot = Dot { incarnation: Incarnation::new(0), stamp: Stamp::ZERO };

/// How many removed fields an object remembers, the latest. If one that is forgotten is still in a version that was written without
/// knowing of the removal, it comes back; for ever more removals to cost ever more bytes would be worse.
const REMOVED_MAX: usize = 64;

/// A value or nothing, with the writes that made it so.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A scalar, an array, or nothing.
    Leaf(Dot, Option<Value>),
    Object(Fields),
}

#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// The write that made this an object.
    since: Dot,
    /// Since when every key that is not among the children has been absent.
    absent_since: Dot,
    children: BTreeMap<String, Node>,
}

/// The dot of a write that had seen `seen`: later than that, even if the writer of it had a clock far ahead.
pub(super) fn later(dot: Dot, seen: Dot) -> Dot {
    if dot.canonical() > seen.canonical() {
        return dot;
    }
    Dot { stamp: Stamp::new(seen.stamp.number() + 1).unwrap_or(Stamp::MAX), ..dot }
}

fn latest(left: Dot, right: Dot) -> Dot {
    core::cmp::max_by_key(left, right, Dot::canonical)
}

impl Node {
    /// A value all of which was set by one write.
    pub(super) fn written(value: Option<&Value>, dot: Dot) -> Self {
        Self::fresh(value, dot, UNKNOWN)
    }

    fn fresh(value: Option<&Value>, dot: Dot, absent_since: Dot) -> Self {
        let Some(Value::Object(entries)) = value else { return Self::Leaf(dot, value.cloned()) };
        let child =
            |(key, value): (&String, &Value)| (key.clone(), Self::fresh(Some(value), dot, absent_since));
        Self::Object(Fields { since: dot, absent_since, children: entries.iter().map(child).collect() })
    }

    /// The latest write in it.
    pub(super) fn newest(&self) -> Dot {
        match self {
            Self::Leaf(dot, _) => *dot,
            Self::Object(fields) => fields.newest(),
        }
    }

    /// The value without the dots.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Leaf(_, value) => value.clone(),
            Self::Object(fields) => {
                let live =
                    fields.children.iter().filter_map(|(key, node)| Some((key.clone(), node.value()?)));
                Some(Value::Object(live.collect::<Map<_, _>>()))
            }
        }
    }

    /// What both are together: each field from the later write. Commutative, associative and idempotent.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Leaf(left, mine), Self::Leaf(right, theirs)) => {
                // One write sets one value; what a faulty peer makes of that is decided by the bytes.
                let by_value = || mine.as_ref().map(canonical).cmp(&theirs.as_ref().map(canonical));
                match left.canonical().cmp(&right.canonical()).then_with(by_value) {
                    Ordering::Less => Self::Leaf(right, theirs),
                    Ordering::Equal | Ordering::Greater => Self::Leaf(left, mine),
                }
            }
            (leaf @ Self::Leaf(..), Self::Object(fields)) | (Self::Object(fields), leaf @ Self::Leaf(..)) => {
                fields.join_leaf(leaf)
            }
            (Self::Object(left), Self::Object(right)) => Self::Object(left.join(right)),
        }
    }

    /// The same after a write of `next`: what is the same keeps its dots, what differs gets `dot`.
    pub(super) fn advance(self, next: Option<&Value>, dot: Dot) -> Self {
        match (self, next) {
            (Self::Leaf(since, None), None) => Self::Leaf(since, None),
            (Self::Leaf(since, Some(value)), Some(next)) if same(&value, next) => {
                Self::Leaf(since, Some(value))
            }
            (Self::Leaf(before, _), Some(Value::Object(_))) => Self::fresh(next, dot, before),
            (Self::Object(fields), Some(Value::Object(entries))) => {
                Self::Object(fields.advance(entries, dot))
            }
            (_, next) => Self::Leaf(dot, next.cloned()),
        }
    }
}

impl Fields {
    fn newest(&self) -> Dot {
        let own = latest(self.since, self.absent_since);
        self.children.values().map(Node::newest).fold(own, latest)
    }

    fn join(mut self, other: Self) -> Self {
        let (mine_absent, theirs_absent) = (self.absent_since, other.absent_since);
        let mut children = BTreeMap::new();
        for (key, theirs) in other.children {
            let mine = self.children.remove(&key).unwrap_or(Node::Leaf(mine_absent, None));
            children.insert(key, mine.join(theirs));
        }
        for (key, mine) in self.children {
            children.insert(key, mine.join(Node::Leaf(theirs_absent, None)));
        }
        let since = latest(self.since, other.since);
        Self { since, absent_since: latest(mine_absent, theirs_absent), children }.tidy()
    }

    /// Together with a value that is no object: the later one stays, but of an object only what is later.
    fn join_leaf(mut self, leaf: Node) -> Node {
        let replaced = leaf.newest();
        if replaced.canonical() > self.newest().canonical() {
            return leaf;
        }
        self.absent_since = latest(self.absent_since, replaced);
        let children = core::mem::take(&mut self.children).into_iter();
        self.children = children.map(|(key, child)| (key, child.join(Node::Leaf(replaced, None)))).collect();
        Node::Object(self.tidy())
    }

    /// Leaves out what `absent_since` says already.
    fn tidy(mut self) -> Self {
        let absent_since = self.absent_since.canonical();
        self.since = latest(self.since, self.absent_since);
        self.children
            .retain(|_, child| !matches!(child, Node::Leaf(dot, None) if dot.canonical() <= absent_since));
        self
    }

    fn advance(mut self, entries: &Map<String, Value>, dot: Dot) -> Self {
        let mut before = core::mem::take(&mut self.children);
        for (key, next) in entries {
            let child = before.remove(key).unwrap_or(Node::Leaf(self.absent_since, None));
            self.children.insert(key.clone(), child.advance(Some(next), dot));
        }
        self.children.extend(before.into_iter().map(|(key, child)| (key, child.advance(None, dot))));
        self.forget_removed();
        self
    }

    fn forget_removed(&mut self) {
        let removed = self.children.iter().filter_map(|(key, child)| match child {
            Node::Leaf(dot, None) => Some((dot.canonical(), key.clone())),
            _ => None,
        });
        let mut removed: Vec<_> = removed.collect();
        if let Some(surplus) = removed.len().checked_sub(REMOVED_MAX) {
            removed.sort_unstable();
            for (_, key) in &removed[..surplus] {
                self.children.remove(key);
            }
        }
    }
}

/// A node as it is written: only what differs from what is around it.
enum Compact<'n> {
    /// All of it was set by this write, and is as long absent as around it.
    Written(Dot),
    Object {
        fields: &'n Fields,
        children: Vec<(&'n str, Compact<'n>)>,
    },
}

impl<'n> Compact<'n> {
    fn new(node: &'n Node, absent_since: Dot) -> Self {
        let fields = match node {
            Node::Leaf(dot, _) => return Self::Written(*dot),
            Node::Object(fields) => fields,
        };
        let listed = fields.children.iter().filter_map(|(key, child)| {
            let removed = matches!(child, Node::Leaf(_, None));
            match Self::new(child, fields.absent_since) {
                Self::Written(dot) if dot == fields.since && !removed => None,
                compact => Some((key.as_str(), compact)),
            }
        });
        let children: Vec<_> = listed.collect();
        if children.is_empty() && fields.absent_since == absent_since {
            Self::Written(fields.since)
        } else {
            Self::Object { fields, children }
        }
    }

    fn write(&self, writer: &mut Writer, dots: &mut Dots) {
        match self {
            Self::Written(dot) => {
                writer.number(dots.place(*dot));
            }
            Self::Object { fields, children } => {
                writer.array(2 + 2 * children.len());
                writer.number(dots.place(fields.since)).number(dots.place(fields.absent_since));
                for (key, child) in children {
                    writer.text(key);
                    child.write(writer, dots);
                }
            }
        }
    }
}

/// The dots of a value, each once.
#[derive(Default)]
pub(super) struct Dots {
    all: Vec<Dot>,
    places: BTreeMap<(Stamp, Incarnation), u64>,
}

impl Dots {
    /// The number that stands for a dot: from 1, and 0 for the unknown one.
    pub(super) fn place(&mut self, dot: Dot) -> u64 {
        if dot == UNKNOWN {
            return 0;
        }
        *self.places.entry(dot.canonical()).or_insert_with(|| {
            self.all.push(dot);
            self.all.len() as u64
        })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.array(2 * self.all.len());
        for dot in &self.all {
            writer.dot(*dot);
        }
    }
}

/// The annotations: `[node, dots]`, dots being a flat array of incarnations and stamps to which numbers from 1 refer.
///
/// A node is the number of the dot that set all of it, or `[since, absent_since, key, node, …]` with the keys, in order, of which that
/// is not so. A key that the body does not have was removed. So a document that was never edited takes some 20 bytes, and each write
/// whose fields are still there 18 and the names of these fields.
impl Node {
    pub(super) fn encode(&self) -> Bytes {
        let (mut writer, mut dots) = (Writer::with_capacity(32), Dots::default());
        writer.array(2);
        Compact::new(self, UNKNOWN).write(&mut writer, &mut dots);
        dots.write(&mut writer);
        writer.finish().into()
    }

    /// A value with its annotations. Annotations that do not belong to it are as good as none: all was set by `otherwise`.
    pub(super) fn decode(value: Option<&Value>, annotations: &Bytes, otherwise: Dot) -> Self {
        if annotations.is_empty() {
            return Self::written(value, otherwise);
        }
        Self::read(value, annotations).unwrap_or_else(|_| Self::written(value, otherwise))
    }

    fn read(value: Option<&Value>, annotations: &Bytes) -> Result<Self, DecodeError> {
        // The dots stand behind the tree, which is known only when it has been walked.
        let mut ahead = Reader::new(annotations);
        ahead.array_of(2)?;
        ahead.skip(1)?;
        let dots = ahead.dots()?;
        ahead.finish()?;
        let mut reader = Reader::new(annotations);
        reader.array_of(2)?;
        Self::read_node(&mut reader, value, &dots, UNKNOWN)
    }

    /// Goes no deeper than the value does, whatever the annotations hold.
    fn read_node(
        reader: &mut Reader<'_>,
        value: Option<&Value>,
        dots: &[Dot],
        absent_since: Dot,
    ) -> Result<Self, DecodeError> {
        let Some(Value::Object(entries)) = value else {
            return Ok(Self::Leaf(reader.place(dots)?, value.cloned()));
        };
        if !reader.at_array()? {
            return Ok(Self::fresh(value, reader.place(dots)?, absent_since));
        }
        let items = reader.array_of_at_least(2)?;
        if !items.is_multiple_of(2) {
            return Err(DecodeError::Number { what: "the length of a list of fields", number: items as u64 });
        }
        let (since, absent_since) = (reader.place(dots)?, reader.place(dots)?);
        let mut children = BTreeMap::new();
        for _ in 0..items / 2 {
            let key = reader.text()?;
            let child = Self::read_node(reader, entries.get(key), dots, absent_since)?;
            children.insert(key.to_string(), child);
        }
        for (key, value) in entries {
            if !children.contains_key(key) {
                children.insert(key.clone(), Self::fresh(Some(value), since, absent_since));
            }
        }
        Ok(Self::Object(Fields { since, absent_since, children }.tidy()))
    }
}

impl Reader<'_> {
    /// The dot that a number stands for.
    pub(super) fn place(&mut self, dots: &[Dot]) -> Result<Dot, DecodeError> {
        let number = self.number()?;
        let Some(index) = number.checked_sub(1) else { return Ok(UNKNOWN) };
        let dot = usize::try_from(index).ok().and_then(|index| dots.get(index)).copied();
        dot.ok_or(DecodeError::Number { what: "the number of a dot", number })
    }
}
