//! What must be on the disks: one side's acknowledged writes, and the one that was under way when it was killed.
//!
//! Pure: it is told what was acknowledged and what was found, and says what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::{Operation, Side};

/// What one side's documents hold of it, as a disk has them: only those that hold something.
pub(crate) type Found = BTreeMap<String, u64>;

/// What was promised to one side's user.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    seed: u64,
    side: Side,
    expected: BTreeMap<String, Option<u64>>,
}

/// What became of an operation that was not acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Made,
    NotMade,
}

/// How a disk breaks a promise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// An acknowledged write is not there, or one that was never begun is.
    Lost { id: String, expected: Option<u64>, found: Option<u64> },
    /// Some documents of a page are written and others not.
    InPart { number: u64, made: usize, documents: usize },
}

impl Model {
    pub(crate) fn new(seed: u64, side: Side) -> Self {
        Self { seed, side, expected: BTreeMap::new() }
    }

    /// Takes an operation as made for good.
    pub(crate) fn made(&mut self, number: u64) {
        self.expected.extend(self.operation(number).effects(number));
    }

    /// Checks a disk while operation `under_way`, if any, may be made or not, and takes it for what it is found to be.
    pub(crate) fn check(&mut self, found: &Found, under_way: Option<u64>) -> Result<Fate, Broken> {
        let effects = under_way.map_or(Vec::new(), |number| self.operation(number).effects(number));
        let changes = effects.iter().filter(|(id, new)| self.expected(id) != *new);
        let (mut made, mut documents) = (0, 0);
        for (id, new) in changes {
            documents += 1;
            made += usize::from(found.get(id).copied() == *new);
        }
        if made > 0 && made < documents {
            return Err(Broken::InPart { number: under_way.unwrap_or_default(), made, documents });
        }
        let fate = if made > 0 { Fate::Made } else { Fate::NotMade };
        if let (Fate::Made, Some(number)) = (fate, under_way) {
            self.made(number);
        }
        for id in self.expected.keys().chain(found.keys()) {
            let (expected, found) = (self.expected(id), found.get(id).copied());
            if expected != found {
                return Err(Broken::Lost { id: id.clone(), expected, found });
            }
        }
        Ok(fate)
    }

    pub(crate) fn operation(&self, number: u64) -> Operation {
        Operation::drawn(self.seed, self.side, number)
    }

    fn expected(&self, id: &str) -> Option<u64> {
        self.expected.get(id).copied().flatten()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: &Option<u64>| number.map_or("nothing".to_owned(), |number| number.to_string());
        match self {
            Self::Lost { id, expected, found } => {
                write!(formatter, "{id} should hold {} and holds {}", shown(expected), shown(found))
            }
            Self::InPart { number, made, documents } => {
                write!(formatter, "of operation {number}, {made} of {documents} documents are there")
            }
        }
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    /// A side that has made fifty operations, and the disk that it should have.
    fn written() -> (Model, Found) {
        let mut model = Model::new(SEED, Side::Left);
        (0..50).for_each(|number| model.made(number));
        let found = model.expected.iter().filter_map(|(id, number)| Some((id.clone(), (*number)?)));
        let found = found.collect();
        (model, found)
    }

    fn next_page(model: &Model) -> (u64, Vec<String>) {
        let page = |number| match model.operation(number) {
            Operation::Page { ids } => Some((number, ids)),
            _ => None,
        };
        (50..).find_map(page).expect("there is always another page")
    }

    #[test]
    fn what_was_acknowledged_is_enough() {
        let (mut model, found) = written();
        assert_eq!(model.check(&found, None), Ok(Fate::NotMade));
        assert!(found.len() > 50);
    }

    #[test]
    fn each_lost_write_is_found() {
        let (model, found) = written();
        for (lost, number) in &found {
            let mut without = found.clone();
            without.remove(lost);
            let broken = Broken::Lost { id: lost.clone(), expected: Some(*number), found: None };
            assert_eq!(model.clone().check(&without, None), Err(broken));
            let mut older = found.clone();
            older.insert(lost.clone(), number.wrapping_sub(1));
            assert!(matches!(model.clone().check(&older, None), Err(Broken::Lost { .. })));
        }
    }

    #[test]
    fn a_removal_that_is_undone_is_found() {
        let (mut model, mut found) = written();
        let (removed, _) =
            model.expected.iter().find(|(_, number)| number.is_none()).expect("something was removed");
        found.insert(removed.clone(), 3);
        assert!(matches!(model.check(&found, None), Err(Broken::Lost { expected: None, .. })));
    }

    #[test]
    fn a_page_is_made_whole_or_not_at_all() {
        let (model, before) = written();
        let (number, ids) = next_page(&model);
        for made in 0..=ids.len() {
            let mut found = before.clone();
            found.extend(ids.iter().take(made).map(|id| (id.clone(), number)));
            let expected = match made {
                0 => Ok(Fate::NotMade),
                made if made == ids.len() => Ok(Fate::Made),
                made => Err(Broken::InPart { number, made, documents: ids.len() }),
            };
            assert_eq!(model.clone().check(&found, Some(number)), expected, "{made}");
        }
    }

    #[test]
    fn what_was_found_made_may_not_vanish_later() {
        let (mut model, before) = written();
        let (number, ids) = next_page(&model);
        let mut found = before.clone();
        found.extend(ids.iter().map(|id| (id.clone(), number)));
        assert_eq!(model.check(&found, Some(number)), Ok(Fate::Made));
        assert!(matches!(model.check(&before, None), Err(Broken::Lost { .. })));
    }
}
