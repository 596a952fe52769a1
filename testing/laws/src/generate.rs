//! Random histories: a first content, and short scripts of edits by replicas that meet now and then.
//!
//! Values are few so that writers collide, and clocks agree, run behind each other or are years apart.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::documents::{Source, Validity};
use crate::edit::Edit;
use crate::history::{History, Origin, Reading, Step, Who};
use crate::pointer::Pointer;
use crate::shape::{Place, Shape, hostile_values};

/// A year, in milliseconds.
const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;

/// What kind of histories a law needs to be tried on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Focus {
    /// Anything: writers hear of each other midway, and write on top of what they see.
    Any,
    /// Two or three replicas write without hearing of each other.
    Apart,
    /// Two do.
    Pair,
    /// Two or three do, each in fields of its own.
    Disjoint,
    /// Some of two or three delete the document.
    Deletion,
    /// A conflict is settled by somebody who sees it, while somebody else writes.
    Settling,
    /// Unknown fields, and values of the right kind that are hard to keep.
    Strange,
    /// Missing fields, and values of any kind anywhere.
    Hostile,
}

/// Makes histories of an application's documents.
pub(crate) struct Generator {
    pub(crate) source: Source,
    pub(crate) shape: Shape,
    validity: Option<Validity>,
}

impl Generator {
    pub(crate) fn new(source: Source, validity: Option<Validity>) -> Self {
        Self { shape: Shape::of(&source.samples, validity.as_ref()), source, validity }
    }

    /// A history for this focus.
    pub(crate) fn history(&self, focus: Focus, dice: &mut Dice) -> History {
        let mut first = self.source.draw(dice);
        match focus {
            Focus::Strange => self.make_strange(&mut first, dice),
            Focus::Hostile => self.make_hostile(&mut first, dice),
            _ => {}
        }
        let steps = match focus {
            Focus::Any => self.mingled(&first, focus, dice),
            Focus::Apart | Focus::Strange if dice.once_in(2) => self.mingled(&first, focus, dice),
            Focus::Hostile => self.mingled(&first, focus, dice),
            Focus::Apart | Focus::Strange => self.apart(&first, focus, dice, 2 + dice.clone().below(2)),
            Focus::Pair => self.apart(&first, focus, dice, 2),
            Focus::Disjoint => self.disjoint(&first, dice),
            Focus::Deletion => self.apart(&first, focus, dice, 2 + dice.clone().below(2)),
            Focus::Settling => self.settling(&first, dice),
        };
        let is_new = matches!(focus, Focus::Any | Focus::Apart | Focus::Hostile) && dice.once_in(8);
        let origin = if is_new { Origin::Nowhere } else { Origin::There };
        let mut history = History { first, origin, steps };
        set_clocks(&mut history, dice);
        history
    }

    /// Replicas write without hearing of each other.
    fn apart(&self, first: &Value, focus: Focus, dice: &mut Dice, writers: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for by in &Who::ALL[..writers] {
            for _ in 0..if dice.once_in(5) { 2 } else { 1 } {
                steps.push(write(*by, self.script(first, focus, dice)));
            }
        }
        steps
    }

    /// Replicas write and take over from each other in any order.
    fn mingled(&self, first: &Value, focus: Focus, dice: &mut Dice) -> Vec<Step> {
        let steps = 2 + dice.below(5);
        let step = |_| {
            let by = *dice.one_of(&Who::ALL);
            if dice.once_in(3) {
                let from = Who::ALL[(by.index() + 1 + dice.below(2)) % 3];
                return Step::Take { by, from };
            }
            let reading = if dice.once_in(6) { Reading::Before } else { Reading::Now };
            Step::Write { by, clock_ms: 0, reading, edits: self.script(first, focus, dice) }
        };
        (0..steps).map(step).collect()
    }

    /// Each writer has fields of its own. Some only touch the document.
    fn disjoint(&self, first: &Value, dice: &mut Dice) -> Vec<Step> {
        let writers = 2 + dice.below(2);
        let mut scripts = vec![Vec::new(); writers];
        for field in self.shape.fields() {
            let writer = dice.below(writers + 1);
            if writer < writers {
                let inside: Vec<&Place> =
                    self.shape.places.iter().filter(|place| field.at.is_at_or_above(&place.at)).collect();
                scripts[writer].extend(self.edit_one_of(&inside, first, dice));
            }
        }
        let scripts = scripts.into_iter().enumerate();
        let write = |(writer, mut edits): (usize, Vec<Edit>)| {
            edits.truncate(3);
            if edits.is_empty() {
                edits.push(Edit::Touch);
            }
            write(Who::ALL[writer], edits)
        };
        scripts.map(write).collect()
    }

    /// A and B disagree, A sees it and writes, and C, who may have seen one of them, writes meanwhile.
    fn settling(&self, first: &Value, dice: &mut Dice) -> Vec<Step> {
        let mut steps = vec![
            write(Who::A, self.script(first, Focus::Deletion, dice)),
            write(Who::B, self.script(first, Focus::Any, dice)),
        ];
        if dice.once_in(2) {
            let from = *dice.one_of(&[Who::A, Who::B]);
            steps.push(Step::Take { by: Who::C, from });
        }
        steps.push(Step::Take { by: Who::A, from: Who::B });
        steps.push(write(Who::A, self.script(first, Focus::Any, dice)));
        steps.push(write(Who::C, self.script(first, Focus::Any, dice)));
        steps
    }

    /// The edits of one write.
    fn script(&self, first: &Value, focus: Focus, dice: &mut Dice) -> Vec<Edit> {
        let deletes = match focus {
            Focus::Deletion => dice.once_in(2),
            Focus::Pair | Focus::Apart | Focus::Any | Focus::Hostile | Focus::Strange => dice.once_in(8),
            _ => false,
        };
        if deletes {
            let keeps = focus == Focus::Hostile && dice.once_in(3);
            return vec![if keeps { Edit::DeleteKeepingContent } else { Edit::Delete }];
        }
        match dice.below(12) {
            0 => return vec![Edit::Touch],
            1 => return vec![Edit::Revive],
            _ => {}
        }
        let places: Vec<&Place> = self.shape.places.iter().collect();
        let edits = 1 + if dice.once_in(3) { dice.below(3) } else { 0 };
        let mut script: Vec<Edit> =
            (0..edits).filter_map(|_| self.edit_one_of(&places, first, dice)).collect();
        match focus {
            Focus::Strange if dice.once_in(2) => script.extend(self.strange_edit(first, dice)),
            Focus::Hostile => script.extend(self.hostile_edit(first, dice)),
            _ => {}
        }
        script
    }

    fn edit_one_of(&self, places: &[&Place], document: &Value, dice: &mut Dice) -> Option<Edit> {
        // Places that a document does not have now are passed over.
        for _ in 0..4 {
            let place = *places.get(dice.below(places.len().max(1)))?;
            let Some(at) = self.shape.concrete(place, document, dice) else { continue };
            if let Some(Value::Array(items)) = at.of(document)
                && !dice.once_in(4)
            {
                return Some(self.list_edit(at, items.len(), dice));
            }
            if !place.is_required && dice.once_in(4) {
                return Some(Edit::Unset { at });
            }
            return Some(Edit::Set { at, to: dice.one_of(&place.values).clone() });
        }
        None
    }

    fn list_edit(&self, list: Pointer, length: usize, dice: &mut Dice) -> Edit {
        let pattern = self
            .shape
            .places
            .iter()
            .map(|place| &place.at)
            .find(|at| at.is_at_or_above(&list) && at.depth() == list.depth());
        let items = pattern.map_or(&[][..], |pattern| self.shape.items(pattern));
        let place = dice.below(length.max(1));
        match dice.below(4) {
            0 if length > 0 => Edit::Remove { list, index: place },
            1 if length > 1 => Edit::Move { list, from: place, to: dice.below(length) },
            _ if !items.is_empty() => {
                Edit::Insert { list, index: dice.below(length + 1), item: dice.one_of(items).clone() }
            }
            _ => Edit::Remove { list, index: place },
        }
    }

    /// Adds fields that the application does not know, and integers that a double cannot hold.
    fn make_strange(&self, document: &mut Value, dice: &mut Dice) {
        for _ in 0..1 + dice.below(2) {
            if let Some(edit) = self.strange_edit(document, dice) {
                edit.apply_to(document);
            }
        }
    }

    fn strange_edit(&self, document: &Value, dice: &mut Dice) -> Option<Edit> {
        let hostile = hostile_values();
        let unknown: [&str; 5] = ["unknown", "Unknown", "x-y.z", "ключ", "a/b~c"];
        if dice.once_in(2) {
            let at = Pointer::default().child(dice.one_of::<&str>(&unknown));
            return Some(Edit::Set { at, to: dice.one_of(&hostile).clone() });
        }
        let integers: Vec<&Place> = self
            .shape
            .places
            .iter()
            .filter(|place| place.values.iter().any(|v| v.is_i64() || v.is_u64()))
            .collect();
        let texts: Vec<&Place> =
            self.shape.places.iter().filter(|place| place.values.iter().any(Value::is_string)).collect();
        let (places, values) = if dice.once_in(2) && !texts.is_empty() {
            (texts, vec![json!("e\u{301}"), json!("\u{202e}txet"), json!("İı"), json!("👩‍👩‍👧‍👦"), json!("\u{0}")])
        } else {
            (
                integers,
                vec![json!(9_007_199_254_740_993_u64), json!(-9_007_199_254_740_993_i64), json!(u64::MAX)],
            )
        };
        let place = *places.get(dice.below(places.len().max(1)))?;
        let edit =
            Edit::Set { at: self.shape.concrete(place, document, dice)?, to: dice.one_of(&values).clone() };
        let mut changed = document.clone();
        edit.apply_to(&mut changed);
        self.validity.as_ref().is_none_or(|valid| valid(&changed).is_ok()).then_some(edit)
    }

    fn make_hostile(&self, document: &mut Value, dice: &mut Dice) {
        for _ in 0..dice.below(3) {
            if let Some(edit) = self.hostile_edit(document, dice) {
                edit.apply_to(document);
            }
        }
    }

    fn hostile_edit(&self, document: &Value, dice: &mut Dice) -> Option<Edit> {
        if dice.once_in(12) {
            // No object at all.
            return Some(Edit::Set { at: Pointer::default(), to: dice.one_of(&hostile_values()).clone() });
        }
        let place = self.shape.places.get(dice.below(self.shape.places.len().max(1)))?;
        let at = self.shape.concrete(place, document, dice)?;
        match dice.below(3) {
            0 => Some(Edit::Unset { at }),
            1 => Some(Edit::Set { at, to: dice.one_of(&hostile_values()).clone() }),
            _ => self.strange_edit(document, dice),
        }
    }
}

impl Edit {
    fn apply_to(&self, document: &mut Value) {
        let first = document.clone();
        let mut draft = crate::edit::Draft { deleted: false, content: Some(first.clone()) };
        self.apply(&mut draft, &first);
        *document = draft.content.unwrap_or(first);
    }
}

fn write(by: Who, edits: Vec<Edit>) -> Step {
    Step::Write { by, clock_ms: 0, reading: Reading::Now, edits }
}

/// Gives every write an hour: the same, the order of the history, its reverse, or any, years apart.
fn set_clocks(history: &mut History, dice: &mut Dice) {
    let kind = dice.below(4);
    let any = [0, 1, 1000, -1000, YEAR_MS, -YEAR_MS];
    let count = history.steps.len() as i64;
    for (number, step) in history.steps.iter_mut().enumerate() {
        if let Step::Write { clock_ms, .. } = step {
            *clock_ms = match kind {
                0 => 1000,
                1 => 1000 * (number as i64 + 1),
                2 => 1000 * (count - number as i64),
                _ => *dice.one_of(&any),
            };
        }
    }
}
