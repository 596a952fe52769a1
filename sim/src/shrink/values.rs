//! Makes what is left in a plan plainer: content, names, kinds and numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Change, Search};
use crate::plan::{Action, Crash, Fate, Fault, FaultKind, Operation, Outage, Plan, Topology};

/// Documents whose names are tried in each other's place: with more of them, nobody reads the plan anyway.
const DOCUMENTS_TO_MERGE_MAX: usize = 12;

impl Search<'_> {
    /// Makes everything as plain as it can be.
    pub(super) fn simplify(&mut self) {
        self.calm_the_room();
        self.simplify_bulks();
        self.simplify_content();
        self.merge_documents();
        self.simplify_faults();
        self.simplify_numbers();
        self.change(name_plainly);
    }

    fn calm_the_room(&mut self) {
        let mut changes: Vec<Change> = vec![
            Change::new(|plan| plan.handler_panics_one_in = None),
            Change::new(|plan| plan.latency.jitter_ms = 0),
            Change::new(|plan| plan.topology = Topology::Mesh),
        ];
        for peer in self.peers() {
            changes.push(Change::new(move |plan| plan.peers[peer.index()].clock_ahead_ms = 0));
        }
        self.change_many(&changes);
    }

    fn simplify_bulks(&mut self) {
        for Operation { number, action, .. } in operations(&self.best) {
            if let Action::Bulk { documents } = action {
                self.take_out_of(documents, |plan, kept| {
                    let documents = kept.to_vec();
                    act(plan, number, Action::Bulk { documents });
                });
            }
        }
        let change = |operation: Operation| match operation.action {
            Action::Bulk { documents } if documents.len() == 1 => {
                let (document, value) = documents[0].clone();
                Some(acting(operation.number, Action::Put { document, value }))
            }
            _ => None,
        };
        let changes: Vec<_> = operations(&self.best).into_iter().filter_map(change).collect();
        self.change_many(&changes);
    }

    /// Content becomes the number of its operation, so that it can still be told apart, or else loses what it can.
    fn simplify_content(&mut self) {
        let make_plain = |operation: &Operation| acting(operation.number, plain(operation));
        let changes: Vec<_> = operations(&self.best).iter().map(make_plain).collect();
        self.change_many(&changes);
        for Operation { number, .. } in operations(&self.best) {
            while let Some(operation) = operations(&self.best).into_iter().find(|one| one.number == number) {
                let is_plain = operation.action == plain(&operation);
                let smaller = if is_plain { Vec::new() } else { smaller_actions(&operation.action) };
                let mut smaller = smaller.into_iter();
                if !smaller.any(|action| self.change(|plan| act(plan, number, action))) {
                    break;
                }
            }
        }
    }

    fn merge_documents(&mut self) {
        let mut place = 1;
        loop {
            let names = documents(&self.best);
            if place >= names.len() || names.len() > DOCUMENTS_TO_MERGE_MAX {
                break;
            }
            let merge = |into: &String| BTreeMap::from([(names[place].clone(), into.clone())]);
            if !names[..place].iter().any(|into| self.change(|plan| rename(plan, &merge(into)))) {
                place += 1;
            }
        }
    }

    fn simplify_faults(&mut self) {
        for Fault { number, kind, .. } in faults(&self.best) {
            match kind {
                FaultKind::Delay { directions, .. }
                | FaultKind::Slow { directions, .. }
                | FaultKind::Hold { directions }
                | FaultKind::Loss { directions, .. }
                | FaultKind::Silence { directions } => self.take_out_of(directions, |plan, kept| {
                    if let Some(
                        FaultKind::Delay { directions, .. }
                        | FaultKind::Slow { directions, .. }
                        | FaultKind::Hold { directions }
                        | FaultKind::Loss { directions, .. }
                        | FaultKind::Silence { directions },
                    ) = kind_mut(plan, number)
                    {
                        *directions = kept.to_vec();
                    }
                }),
                FaultKind::Cut { pairs } => self.take_out_of(pairs, |plan, kept| {
                    if let Some(FaultKind::Cut { pairs }) = kind_mut(plan, number) {
                        *pairs = kept.to_vec();
                    }
                }),
                FaultKind::Crash { .. } => {
                    self.change(|plan| {
                        if let Some(FaultKind::Crash { manner, .. }) = kind_mut(plan, number) {
                            *manner = Crash::Kill;
                        }
                    });
                }
                FaultKind::SignalingDown { .. } => {
                    self.change(|plan| {
                        if let Some(FaultKind::SignalingDown { outage }) = kind_mut(plan, number) {
                            *outage = Outage::Stop;
                        }
                    });
                }
                FaultKind::FailCommit { .. } => {
                    self.change(|plan| {
                        if let Some(FaultKind::FailCommit { fate, .. }) = kind_mut(plan, number) {
                            *fate = Fate::NotApplied;
                        }
                    });
                }
                _ => {}
            }
        }
    }

    /// Every number becomes as small as it can, first together, then for itself.
    fn simplify_numbers(&mut self) {
        let mut zeroes: Vec<Change> = Vec::new();
        for (name, dial) in dials(&mut self.best.clone()) {
            if dial.value() > dial.least {
                zeroes.push(Change::new(move |plan| turn(plan, name, |dial| dial.least)));
            }
        }
        self.change_many(&zeroes);
        for divisor in [10, 2] {
            while self.change(|plan| {
                let times = dials(plan).into_iter().filter(|(name, _)| name.is_time());
                times.for_each(|(_, mut dial)| dial.set(dial.value() / divisor));
            }) && dials(&mut self.best.clone())
                .iter()
                .any(|(name, dial)| name.is_time() && dial.value() > dial.least)
            {}
        }
        let names: Vec<_> = dials(&mut self.best.clone()).into_iter().map(|(name, _)| name).collect();
        for name in names {
            while let Some((_, dial)) = dials(&mut self.best.clone()).into_iter().find(|dial| dial.0 == name)
            {
                let mut smaller = smaller_numbers(dial.value(), dial.least).into_iter();
                if !smaller.any(|number| self.change(|plan| turn(plan, name, |_| number))) {
                    break;
                }
            }
        }
    }
}

fn operations(plan: &Plan) -> Vec<Operation> {
    plan.rounds.iter().flat_map(|round| &round.operations).cloned().collect()
}

fn faults(plan: &Plan) -> Vec<Fault> {
    plan.rounds.iter().flat_map(|round| &round.faults).cloned().collect()
}

fn kind_mut(plan: &mut Plan, number: u32) -> Option<&mut FaultKind> {
    let mut faults = plan.rounds.iter_mut().flat_map(|round| &mut round.faults);
    faults.find(|fault| fault.number == number).map(|fault| &mut fault.kind)
}

fn act(plan: &mut Plan, number: u32, action: Action) {
    let mut operations = plan.rounds.iter_mut().flat_map(|round| &mut round.operations);
    if let Some(operation) = operations.find(|operation| operation.number == number) {
        operation.action = action;
    }
}

fn acting(number: u32, action: Action) -> Change {
    Change::new(move |plan| act(plan, number, action.clone()))
}

/// The same with content that tells its operation and nothing else.
fn plain(operation: &Operation) -> Action {
    let number = operation.number;
    match &operation.action {
        Action::Put { document, .. } => {
            Action::Put { document: document.clone(), value: json!({ "n": number }) }
        }
        Action::Edit { document, ponders_ms, .. } => {
            let fields = vec![("n".into(), number.into())];
            Action::Edit { document: document.clone(), fields, ponders_ms: *ponders_ms }
        }
        Action::Bulk { documents } => {
            let plain = |(document, _): &(String, Value)| (document.clone(), json!({ "n": number }));
            Action::Bulk { documents: documents.iter().map(plain).collect() }
        }
        other => other.clone(),
    }
}

/// Actions with less content, those with much less first.
fn smaller_actions(action: &Action) -> Vec<Action> {
    match action {
        Action::Put { document, value } => {
            let put = |value| Action::Put { document: document.clone(), value };
            smaller_values(value).into_iter().map(put).collect()
        }
        Action::Edit { document, fields, ponders_ms } => {
            let smaller = smaller_fields(fields).into_iter().filter(|fields| !fields.is_empty());
            let edit = |fields| Action::Edit { document: document.clone(), fields, ponders_ms: *ponders_ms };
            smaller.map(edit).collect()
        }
        Action::Bulk { documents } => {
            // Which documents there are is decided elsewhere.
            let smaller =
                smaller_fields(documents).into_iter().filter(|fewer| fewer.len() == documents.len());
            smaller.map(|documents| Action::Bulk { documents }).collect()
        }
        Action::Delete { .. } | Action::Settle { .. } => Vec::new(),
    }
}

/// Values whose text is shorter, which is why this comes to an end. A content `{"n": …}` is as plain as it gets.
fn smaller_values(value: &Value) -> Vec<Value> {
    let smaller = match value {
        Value::Object(fields) if fields.len() == 1 && fields.get("n").is_some_and(Value::is_number) => {
            Vec::new()
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            smaller_fields(&fields)
                .into_iter()
                .map(|fields| Value::Object(fields.into_iter().collect()))
                .collect()
        }
        Value::Array(items) => {
            let without = |place| {
                let mut items = items.clone();
                items.remove(place);
                Value::Array(items)
            };
            [json!([])].into_iter().chain((0..items.len()).map(without)).collect()
        }
        Value::String(text) => {
            let half = text.chars().take(text.chars().count() / 2).collect();
            vec![json!(""), Value::String(half)]
        }
        Value::Number(_) => vec![json!(0)],
        Value::Bool(_) | Value::Null => Vec::new(),
    };
    let length = |value: &Value| value.to_string().len();
    smaller.into_iter().filter(|smaller| length(smaller) < length(value)).collect()
}

/// Fields without one, or with one that is smaller.
fn smaller_fields(fields: &[(String, Value)]) -> Vec<Vec<(String, Value)>> {
    let without = |place| {
        let mut fewer = fields.to_vec();
        fewer.remove(place);
        fewer
    };
    let smaller = |place: usize| {
        let with = move |value| {
            let mut changed = fields.to_vec();
            changed[place].1 = value;
            changed
        };
        smaller_values(&fields[place].1).into_iter().map(with)
    };
    (0..fields.len()).map(without).chain((0..fields.len()).flat_map(smaller)).collect()
}

fn document_names(action: &mut Action) -> Vec<&mut String> {
    match action {
        Action::Put { document, .. } | Action::Edit { document, .. } | Action::Delete { document } => {
            vec![document]
        }
        Action::Bulk { documents } => documents.iter_mut().map(|(document, _)| document).collect(),
        Action::Settle { .. } => Vec::new(),
    }
}

/// The documents of a plan, in the order in which they occur.
fn documents(plan: &Plan) -> Vec<String> {
    let mut known = BTreeSet::new();
    let mut names = Vec::new();
    for mut operation in operations(plan) {
        let new =
            document_names(&mut operation.action).into_iter().filter(|name| known.insert((*name).clone()));
        names.extend(new.map(|name| name.clone()));
    }
    names
}

fn rename(plan: &mut Plan, names: &BTreeMap<String, String>) {
    for operation in plan.rounds.iter_mut().flat_map(|round| &mut round.operations) {
        for name in document_names(&mut operation.action) {
            if let Some(new) = names.get(name) {
                name.clone_from(new);
            }
        }
        if let Action::Bulk { documents } = &mut operation.action {
            // A commit writes each document once.
            let mut known = BTreeSet::new();
            documents.retain(|(document, _)| known.insert(document.clone()));
        }
    }
}

/// Documents are called a, b, c; operations and faults are counted from zero.
fn name_plainly(plan: &mut Plan) {
    let old = documents(plan);
    if old.len() <= 26 {
        rename(plan, &old.into_iter().zip(('a'..='z').map(String::from)).collect());
    }
    for (number, operation) in (0..).zip(plan.rounds.iter_mut().flat_map(|round| &mut round.operations)) {
        operation.number = number;
    }
    for (number, fault) in (0..).zip(plan.rounds.iter_mut().flat_map(|round| &mut round.faults)) {
        fault.number = number;
    }
}

/// Names a number of a plan, while others change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    Latency,
    Jitter,
    Joins(usize),
    Clock(usize),
    Length(usize),
    OperationAt(u32),
    Ponders(u32),
    Nth(u32),
    FaultAt(u32),
    FaultFor(u32),
    FaultBy(u32),
}

impl Name {
    /// Whether it must shrink with others, so that what was before something stays before it.
    fn is_time(self) -> bool {
        match self {
            Self::Joins(_) | Self::Length(_) | Self::OperationAt(_) | Self::Ponders(_) => true,
            Self::FaultAt(_) | Self::FaultFor(_) => true,
            Self::Latency | Self::Jitter | Self::Clock(_) | Self::Nth(_) | Self::FaultBy(_) => false,
        }
    }
}

/// A number of a plan.
struct Dial<'a> {
    number: Number<'a>,
    least: u64,
}

enum Number<'a> {
    U64(&'a mut u64),
    U32(&'a mut u32),
    I64(&'a mut i64),
}

impl Dial<'_> {
    fn value(&self) -> u64 {
        match &self.number {
            Number::U64(number) => **number,
            Number::U32(number) => u64::from(**number),
            Number::I64(number) => number.unsigned_abs(),
        }
    }

    /// Sets a value that is at most what it was, and keeps the sign.
    fn set(&mut self, value: u64) {
        let value = value.max(self.least).min(self.value());
        match &mut self.number {
            Number::U64(number) => **number = value,
            Number::U32(number) => **number = u32::try_from(value).expect("it is at most what it was"),
            Number::I64(number) => **number = number.signum() * i64::try_from(value).unwrap_or(i64::MAX),
        }
    }
}

fn turn(plan: &mut Plan, name: Name, to: impl Fn(&Dial<'_>) -> u64) {
    if let Some((_, mut dial)) = dials(plan).into_iter().find(|(other, _)| *other == name) {
        let value = to(&dial);
        dial.set(value);
    }
}

/// All numbers of a plan that may be smaller.
fn dials(plan: &mut Plan) -> Vec<(Name, Dial<'_>)> {
    let mut dials = Vec::new();
    let mut dial = |name, number, least| dials.push((name, Dial { number, least }));
    dial(Name::Latency, Number::U32(&mut plan.latency.base_ms), 1);
    dial(Name::Jitter, Number::U32(&mut plan.latency.jitter_ms), 0);
    for (place, peer) in plan.peers.iter_mut().enumerate() {
        if let Some(joins_ms) = &mut peer.joins_ms {
            dial(Name::Joins(place), Number::U64(joins_ms), 0);
        }
        dial(Name::Clock(place), Number::I64(&mut peer.clock_ahead_ms), 0);
    }
    for (place, round) in plan.rounds.iter_mut().enumerate() {
        let operations_ms = round.operations.iter().map(|operation| operation.at_ms);
        let last_ms = operations_ms.chain(round.faults.iter().map(|fault| fault.at_ms)).max();
        let length_ms_min = last_ms.unwrap_or(0).saturating_add(1);
        for operation in &mut round.operations {
            dial(Name::OperationAt(operation.number), Number::U64(&mut operation.at_ms), 0);
            match &mut operation.action {
                Action::Edit { ponders_ms, .. } => {
                    dial(Name::Ponders(operation.number), Number::U64(ponders_ms), 0);
                }
                Action::Settle { nth } => dial(Name::Nth(operation.number), Number::U32(nth), 0),
                _ => {}
            }
        }
        for Fault { number, at_ms, for_ms, kind } in &mut round.faults {
            dial(Name::FaultAt(*number), Number::U64(at_ms), 0);
            dial(Name::FaultFor(*number), Number::U64(for_ms), 0);
            match kind {
                FaultKind::Delay { by_ms, .. } | FaultKind::SlowStorage { by_ms, .. } => {
                    dial(Name::FaultBy(*number), Number::U32(by_ms), 0);
                }
                FaultKind::ClockJump { by_ms, .. } => dial(Name::FaultBy(*number), Number::I64(by_ms), 0),
                FaultKind::FailCommit { after, .. } | FaultKind::FailRead { after, .. } => {
                    dial(Name::FaultBy(*number), Number::U32(after), 0);
                }
                _ => {}
            }
        }
        dial(Name::Length(place), Number::U64(&mut round.length_ms), length_ms_min);
    }
    dials
}

/// Smaller numbers, much smaller ones and round ones first.
fn smaller_numbers(number: u64, least: u64) -> Vec<u64> {
    let magnitude = 10_u64.pow(number.checked_ilog10().unwrap_or(0));
    let round = number - number % magnitude;
    let rounder = number - number % (magnitude / 10).max(1);
    let candidates = [least, number / 10, number / 2, round, rounder];
    candidates.into_iter().filter(|candidate| *candidate >= least && *candidate < number).collect()
}
