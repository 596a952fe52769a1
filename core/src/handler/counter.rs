//! Numbers that add up: concurrent increments and decrements all count, each once.
//!
//! A write's contribution is the number it writes less the one its writer had seen. Versions that share history share contributions, so these
//! are noted per incarnation, as in the PN-counter (Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of convergent and commutative
//! replicated data types", 2011), but not as its highest number: one who saves an old draft has not seen what he
//! contributed since. A version therefore holds the sums of what its writer had read, and its own contribution apart from them; it
//! enters them with the next write, which has read all the versions of a replica, and with each contribution whatever is older.

use alloc::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Number, Value};

use super::combine::whole_documents;
use super::{Combine, FieldHead, FieldState};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Dot;
use crate::id::Incarnation;
use crate::stamp::Stamp;

/// Holds the place of a number of which nobody noted who contributed what.
const NOBODY: Incarnation = Incarnation::new(0);

/// A number is a count: what concurrent writers added to it and subtracted from it is all counted, each once.
///
/// An application writes the new number as if it were alone; how much that added is told from the number it had seen. The first write of a document
/// adds to zero: two replicas that create a counter of 10 at the same time make 20 of it, so create counters at zero.
/// To set the number is to add the difference; what somebody adds at the same time is added to that.
///
/// **Choose it** for likes, stock, quantities. **Choose another** for numbers that are measured or chosen (prices, positions, versions): the sum of two
/// changes is nobody's number. A lower bound cannot be kept: two who each take the last of the stock leave -1.
///
/// ```
/// # use peerloom_core::*;
/// # let write = |number: u64, seen: Option<&State>, value: i64| {
/// #     let dot = Dot { incarnation: Incarnation::new(number), stamp: Stamp::new(number).unwrap() };
/// #     let mut state = State { body: value.to_string().into(), ..State::default() };
/// #     state.annotations = Counter.annotate(seen, &state, dot);
/// #     Head { dot, state }
/// # };
/// let base = write(1, None, 7);
/// let ann = write(2, Some(&base.state), 9);
/// let bob = write(3, Some(&base.state), 6);
/// assert_eq!(Counter.resolve(&[ann, bob]).body, "8");
/// ```
///
/// As a handler of its own it takes documents that are numbers; mostly it is a rule of [`PerField`](super::PerField). To leave the
/// field out is no contribution: the count is shown again where somebody else has it, and whoever sets it sets it as ever.
///
/// # Ranges
///
/// Integers from -2^63 to 2^64 - 1, exactly. A sum beyond is shown as the bound; the surplus is kept, and counts when others subtract. Where a version
/// holds a fraction or something else than a number, the last version wins, and the next integer counts from zero:
/// sums of floats depend on their order, and no two replicas could agree on them.
///
/// # What it costs
///
/// Some 20 bytes of annotations for every opening of a store that ever contributed. The number of a version that another handler wrote
/// is the base to which all contribute; of several such versions, the last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counter;

whole_documents!(Counter);

impl Combine for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn combine(&self, heads: &[FieldHead]) -> FieldState {
        let last = &heads.last().expect("a conflict has heads").state;
        let tallies = heads.iter().map(|head| {
            let number = integer(head.state.value.as_ref())?;
            Some(Tally::decode(&head.state).unwrap_or_else(|| Tally::of(number, head.dot.stamp)))
        });
        let Some(tally) = tallies.reduce(|left, right| Some(left?.join(right?))).flatten() else {
            return last.clone();
        };
        let value = heads.iter().any(|head| head.state.value.is_some()).then(|| shown(tally.total()));
        FieldState { value, annotations: tally.encode() }
    }

    fn note(&self, seen: Option<&FieldState>, next: Option<&Value>, dot: Dot) -> Bytes {
        let before = seen.and_then(|seen| {
            let number = integer(seen.value.as_ref())?;
            let earliest = Stamp::new(1).expect("below 2^63");
            Some(Tally::decode(seen).unwrap_or_else(|| Tally::of(number, earliest)))
        });
        let mut tally = before.unwrap_or_default();
        tally.settle();
        if next.is_some() {
            let Some(next) = integer(next) else { return Bytes::new() };
            let contribution = next.wrapping_sub(tally.total());
            if contribution != 0 {
                tally.apart.insert(dot.canonical(), contribution);
            }
        }
        tally.encode()
    }
}

/// Nothing counts as zero; `None` for what cannot be counted.
fn integer(value: Option<&Value>) -> Option<i128> {
    let Some(value) = value else { return Some(0) };
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn shown(total: i128) -> Value {
    let number = match u64::try_from(total) {
        Ok(positive) => Number::from(positive),
        Err(_) if total > 0 => Number::from(u64::MAX),
        Err(_) => Number::from(i64::try_from(total).unwrap_or(i64::MIN)),
    };
    Value::Number(number)
}

/// Who contributed how much. Sums wrap around, so that they stay the same in any order; an honest one never gets there.
#[derive(Debug, Default)]
struct Tally {
    /// Per incarnation, the sum of all its contributions up to a stamp.
    sums: BTreeMap<Incarnation, (Stamp, i128)>,
    /// Single contributions, which say nothing of those before.
    apart: BTreeMap<(Stamp, Incarnation), i128>,
}

impl Tally {
    /// A number that nobody contributed to yet.
    fn of(number: i128, stamp: Stamp) -> Self {
        Self { sums: [(NOBODY, (stamp, number))].into(), apart: BTreeMap::new() }
    }

    fn total(&self) -> i128 {
        let sums = self.sums.values().map(|sum| sum.1);
        sums.chain(self.apart.values().copied()).fold(0, i128::wrapping_add)
    }

    /// Both together, each contribution once. Commutative, associative and idempotent.
    fn join(mut self, other: Self) -> Self {
        for (incarnation, theirs) in other.sums {
            let sum = self.sums.entry(incarnation).or_insert(theirs);
            *sum = theirs.max(*sum);
        }
        for (dot, theirs) in other.apart {
            let contribution = self.apart.entry(dot).or_insert(theirs);
            *contribution = theirs.max(*contribution);
        }
        let sums = &self.sums;
        self.apart.retain(|(stamp, incarnation), _| sums.get(incarnation).is_none_or(|sum| sum.0 < *stamp));
        self
    }

    fn settle(&mut self) {
        // In the order of stamps, so the last is the highest.
        for ((stamp, incarnation), contribution) in core::mem::take(&mut self.apart) {
            let sum = self.sums.entry(incarnation).or_default();
            *sum = (stamp, sum.1.wrapping_add(contribution));
        }
    }

    /// `[sums, apart]`, both flat arrays of incarnation, stamp and amount.
    fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(32);
        writer.array(2).array(3 * self.sums.len());
        for (&incarnation, &(stamp, sum)) in &self.sums {
            writer.dot(Dot { incarnation, stamp }).signed(sum);
        }
        writer.array(3 * self.apart.len());
        for (&(stamp, incarnation), &contribution) in &self.apart {
            writer.dot(Dot { incarnation, stamp }).signed(contribution);
        }
        writer.finish().into()
    }

    /// `None` where the annotations do not belong to the number.
    fn decode(state: &FieldState) -> Option<Self> {
        let tally = Self::read(&state.annotations).ok()?;
        let belongs =
            state.value.is_none() || integer(Some(&shown(tally.total()))) == integer(state.value.as_ref());
        belongs.then_some(tally)
    }

    fn read(annotations: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(annotations);
        reader.array_of(2)?;
        let sums =
            reader.amounts()?.map(|amount| amount.map(|(dot, sum)| (dot.incarnation, (dot.stamp, sum))));
        let sums = sums.collect::<Result<_, _>>()?;
        let apart = reader.amounts()?.map(|amount| amount.map(|(dot, sum)| (dot.canonical(), sum)));
        let apart = apart.collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { sums, apart })
    }
}

impl<'b> Reader<'b> {
    fn amounts<'r>(
        &'r mut self,
    ) -> Result<impl Iterator<Item = Result<(Dot, i128), DecodeError>> + use<'r, 'b>, DecodeError> {
        let items = self.array()?;
        if !items.is_multiple_of(3) {
            return Err(DecodeError::Number {
                what: "the length of a list of amounts",
                number: items as u64,
            });
        }
        Ok((0..items / 3).map(|_| Ok((self.dot()?, self.signed()?))))
    }
}
