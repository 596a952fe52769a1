//! Whether a conflict handler of RxDB's would settle in a mesh of RxDB peers.
//!
//! The protocol is the model in `peerloom-rxdb-mesh`. Nothing here is about handlers of Peerloom, which have no roles and cannot make a
//! mesh loop.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use peerloom_rxdb_mesh::{
    Asymmetry, CheckOptions, Finding, Outcome, PeerError, RxdbConflictHandler, Settings, Sought, Topology,
    Write, check, deep_equal,
};
use serde_json::{Value, json};

use crate::counterexample::{aligned, wrapped};
use crate::dice::Dice;
use crate::documents::Documents;
use crate::edit::Draft;
use crate::exhaustive::few_documents;
use crate::generate::{Focus, Generator};
use crate::history::Step;
use crate::laws::LawsError;
use crate::pointer::{Pointer, differences};
use crate::report::grouped;
use crate::subject::{Panicked, quietly};
use crate::trials::Trials;

/// How many states are the small scope, but for the deleted ones.
const STATES_MAX: usize = 16;
/// How many sets of three writes are tried in every mesh.
const SCOPES_MAX: usize = 3;
/// The document's key where the examples have none.
const ID: &str = "document";

/// Tells whether a handler with RxDB's two-sided signature would settle in a mesh of RxDB peers.
///
/// RxDB decides by a hash, for each two peers, who is the master and who is the fork that resolves conflicts. So a handler must give the same
/// answer when the two states change places; and even then three peers may chase each other's answers for ever. Both are tried here:
/// the one on pairs of generated states, the other by the model of the protocol, in pairs, lines and triangles with every choice of roles
/// and every order of what can happen, with a write at each peer.
///
/// A handler is anything that is a [`RxdbConflictHandler`], also a closure of `(real_master_state, new_document_state,
/// assumed_master_state)`. States are the fields of a document and `_deleted`.
///
/// RxDB's own default is not safe:
///
/// ```
/// use peerloom_laws::{MasterWins, rxdb_safe};
///
/// let report = rxdb_safe(MasterWins).run()?;
/// assert!(!report.is_safe());
/// println!("{report}");
/// # Ok::<(), peerloom_laws::LawsError>(())
/// ```
///
/// The later state is, if equally late ones have an order, too:
///
/// ```
/// use peerloom_laws::rxdb_safe;
/// use proptest::prelude::Strategy;
/// use serde_json::{Value, json};
///
/// let notes = (0..3, 1..4).prop_map(|(text, at)| json!({ "text": text, "updatedAt": at }));
/// let latest = |real: &Value, new: &Value, _assumed: Option<&Value>| {
///     let rank = |state: &Value| (state["updatedAt"].as_u64(), state.to_string());
///     if rank(new) > rank(real) { new.clone() } else { real.clone() }
/// };
/// let report = rxdb_safe(latest).documents(notes).run()?;
/// assert!(report.is_safe() && report.is_exhaustive(), "{report}");
/// # Ok::<(), peerloom_laws::LawsError>(())
/// ```
///
/// # What it does not tell
///
/// Whether a write is lost on the way: RxDB knows no causality, so that an old state can come back as if it were new. Nor what
/// four peers do, or three that write twice.
pub fn rxdb_safe(handler: impl RxdbConflictHandler + 'static) -> RxdbSafety {
    RxdbSafety {
        handler: Arc::new(handler),
        documents: None,
        settings: Settings::default(),
        trials: Trials::default(),
    }
}

/// How a handler of RxDB's is judged: see [`rxdb_safe`].
#[derive(Clone)]
pub struct RxdbSafety {
    handler: Arc<dyn RxdbConflictHandler>,
    documents: Option<Documents>,
    settings: Settings,
    trials: Trials,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RxdbReport {
    /// The first call that went wrong, if any.
    pub fault: Option<RxdbFault>,
    /// Two states of which it depends on the roles what becomes of them, if any.
    pub asymmetry: Option<Asymmetry>,
    /// The shortest way to a mesh that never settles, or settles on different states, if any.
    pub shortest: Option<Finding>,
    /// How many pairs of states were resolved in both orders.
    pub pairs: u64,
    /// What was tried of the protocol.
    pub explored: Vec<RxdbExplored>,
}

/// What was tried in one topology, with every choice of roles.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RxdbExplored {
    /// Who was connected.
    pub topology: Topology,
    /// How often something was wrong, of all choices of roles and sets of writes.
    pub broken: usize,
    /// How many of these were tried.
    pub tried: usize,
    /// Different states of the meshes in which nothing was wrong.
    pub states: usize,
    /// Whether these are all there are.
    pub is_exhaustive: bool,
}

/// A call of the handler that went wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RxdbFault {
    /// What is wrong, in one sentence.
    pub what: String,
    /// The two states that it was called with, the master's or the first one first.
    pub states: [Value; 2],
}

impl RxdbSafety {
    /// The documents of the application; see [`from_examples`](crate::from_examples) and its siblings. Give them if the handler looks at certain
    /// fields: without them, it is tried on notes with `title`, `done` and `updatedAt`.
    #[must_use]
    pub fn documents(mut self, documents: impl Into<Documents>) -> Self {
        self.documents = Some(documents.into());
        self
    }

    /// The field that names documents. The default is `id`. Documents that do not have it get it.
    #[must_use]
    pub fn primary_key(mut self, field: impl Into<String>) -> Self {
        self.settings.primary_key = field.into();
        self
    }

    /// How many random pairs of states are resolved in both orders, beside a small scope. The default is 256. The environment variable
    /// `CASES` counts more than this.
    #[must_use]
    pub fn cases(mut self, cases: u64) -> Self {
        self.trials.cases = cases;
        self
    }

    /// The seed of the random pairs. The default is 0. The environment variable `SEED` counts more than this.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.trials.seed = seed;
        self
    }

    /// Judges the handler. A handler that panics is not safe, and the report says so.
    ///
    /// # Errors
    ///
    /// If the documents cannot be used, or `CASES` or `SEED` is not a number.
    pub fn run(&self) -> Result<RxdbReport, LawsError> {
        let documents = self.documents.clone().unwrap_or_else(notes);
        let generator = Generator::new(documents.source()?, documents.validity());
        let handler = Arc::new(Watched {
            inner: self.handler.clone(),
            primary_key: self.settings.primary_key.clone(),
            fault: Mutex::new(None),
        });
        let states = self.few_states(&generator);
        let (pairs, asymmetry) = self.symmetry(&*handler, &states, &generator)?;
        let mut report = RxdbReport { fault: None, asymmetry, shortest: None, pairs, explored: Vec::new() };
        for (start, writes) in scopes(&states) {
            // One that does not even settle from there needs no more to be rejected.
            if report.shortest.is_none() && handler.fault().is_none() {
                self.explore(&handler, start, &writes, &mut report);
            }
        }
        report.fault = handler.fault();
        Ok(report)
    }

    /// All states over a few values of a few fields, some others, and at the end deleted ones. All differ.
    fn few_states(&self, generator: &Generator) -> Vec<Value> {
        let samples = &generator.source.samples;
        let sample = samples.iter().max_by_key(|sample| sample.as_object().map(|fields| fields.len()));
        let few = few_documents(&generator.shape, sample.expect("there is at least one"));
        let deleted = [&few[0], &few[few.len() - 1]].map(|document| self.state(document, true));
        let live = few.iter().chain(samples).map(|document| self.state(document, false));
        let mut states: Vec<Value> = Vec::new();
        for state in live {
            if states.len() < STATES_MAX && !states.contains(&state) {
                states.push(state);
            }
        }
        states.extend(deleted.into_iter().take(if few.len() > 1 { 2 } else { 1 }));
        states
    }

    /// A document as RxDB's peers send it.
    fn state(&self, document: &Value, deleted: bool) -> Value {
        let mut state = document.clone();
        if let Some(fields) = state.as_object_mut() {
            fields.insert(self.settings.primary_key.clone(), ID.into());
            fields.insert("_deleted".into(), deleted.into());
        }
        state
    }

    /// Resolves pairs of states in both orders, until it makes a difference.
    fn symmetry(
        &self,
        handler: &dyn RxdbConflictHandler,
        states: &[Value],
        generator: &Generator,
    ) -> Result<(u64, Option<Asymmetry>), LawsError> {
        let mut pairs = 0;
        for (index, one) in states.iter().enumerate() {
            for other in &states[..index] {
                for assumed in [None, Some(&states[0])] {
                    pairs += 1;
                    if let Some(asymmetry) = asymmetry(handler, other, one, assumed) {
                        return Ok((pairs, Some(asymmetry)));
                    }
                }
            }
        }
        let Trials { cases, seed } = self.trials.now()?;
        for case in 0..cases {
            let history = generator.history(Focus::Pair, &mut Dice::of_case(seed, 0, case));
            let versions = history.steps.iter().filter_map(|step| match step {
                Step::Write { edits, .. } => Some(self.edited(&history.first, edits)),
                Step::Take { .. } => None,
            });
            let versions: Vec<Value> = versions.collect();
            let first = self.state(&history.first, false);
            if let [one, .., other] = versions.as_slice() {
                pairs += 1;
                if let Some(asymmetry) = asymmetry(handler, one, other, Some(&first)) {
                    return Ok((pairs, Some(asymmetry)));
                }
            }
        }
        Ok((pairs, None))
    }

    /// The document after these edits. RxDB's deleted documents keep their fields.
    fn edited(&self, first: &Value, edits: &[crate::edit::Edit]) -> Value {
        let mut draft = Draft { deleted: false, content: Some(first.clone()) };
        for edit in edits {
            edit.apply(&mut draft, first);
        }
        self.state(
            draft.content.as_ref().filter(|content| content.is_object()).unwrap_or(first),
            draft.deleted,
        )
    }

    /// Tries the protocol with these writes.
    fn explore(&self, handler: &Arc<Watched>, start: &Value, writes: &[Write], report: &mut RxdbReport) {
        let options = CheckOptions {
            settings: self.settings.clone(),
            // Generated states carry no clock that goes by their order, so nothing can be said about discarded writes.
            sought: Sought::Disagreement,
            ..CheckOptions::default()
        };
        let watched: Arc<dyn RxdbConflictHandler> = handler.clone();
        let verdict = match check(&watched, std::slice::from_ref(start), &Topology::ALL, writes, &options) {
            Ok(verdict) => verdict,
            Err(error) => {
                handler.note(refused(&error), start, start);
                return;
            }
        };
        for topology in Topology::ALL {
            let mut row = RxdbExplored { topology, broken: 0, tried: 0, states: 0, is_exhaustive: true };
            for explored in verdict.explored.iter().filter(|explored| explored.topology == topology) {
                row.tried += 1;
                match &explored.outcome {
                    Outcome::Found(_) => row.broken += 1,
                    Outcome::Exhausted { states, .. } => row.states += states,
                    Outcome::BoundReached { states, .. } => {
                        row.states += states;
                        row.is_exhaustive = false;
                    }
                }
            }
            match report.explored.iter_mut().find(|before| before.topology == topology) {
                Some(before) => before.add(&row),
                None => report.explored.push(row),
            }
        }
        report.shortest = verdict.shortest().cloned();
    }
}

impl fmt::Debug for RxdbSafety {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, trials: Trials { cases, seed }, .. } = self;
        let mut shown = formatter.debug_struct("RxdbSafety");
        shown.field("settings", settings).field("cases", cases).field("seed", seed).finish_non_exhaustive()
    }
}

impl RxdbExplored {
    fn add(&mut self, other: &Self) {
        self.broken += other.broken;
        self.tried += other.tried;
        self.states += other.states;
        self.is_exhaustive &= other.is_exhaustive;
    }
}

impl RxdbReport {
    /// Whether nothing is wrong, for these documents and as far as it was tried.
    pub fn is_safe(&self) -> bool {
        self.fault.is_none() && self.asymmetry.is_none() && self.shortest.is_none()
    }

    /// Whether nothing was left out: in every mesh, every order of all that could happen was tried. Not so where something was found, because the
    /// search ends there.
    pub fn is_exhaustive(&self) -> bool {
        !self.explored.is_empty() && self.explored.iter().all(|row| row.is_exhaustive && row.broken == 0)
    }
}

impl fmt::Display for RxdbReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_safe() { "safe" } else { "NOT SAFE" };
        writeln!(formatter, "{verdict} in a mesh of RxDB peers\n")?;
        let mut rows = vec![vec![
            "roles change nothing".to_string(),
            broken(self.asymmetry.is_some()),
            format!("{} of states, in both orders", counted(self.pairs, "pair")),
        ]];
        rows.extend(self.explored.iter().map(|row| {
            let name = format!("a {} settles", format!("{:?}", row.topology).to_lowercase());
            let seen = if row.is_exhaustive { "exhaustive over" } else { "the first" };
            let tried = match row.broken {
                0 => format!("{seen} {} states, with every choice of roles", grouped(row.states as u64)),
                broken => format!("it does not in {broken} of {} choices of roles and writes", row.tried),
            };
            vec![name, broken(row.broken > 0), tried]
        }));
        formatter.write_str(&aligned(&rows))?;
        if let Some(RxdbFault { what, states: [one, other] }) = &self.fault {
            writeln!(formatter, "\n{what}, called with\n    {one}\n    {other}")?;
        }
        if let Some(asymmetry) = &self.asymmetry {
            writeln!(formatter, "\nWhat becomes of two states depends on who is the master:\n")?;
            formatter.write_str(&aligned(&compared(asymmetry)))?;
        }
        if let Some(finding) = &self.shortest {
            writeln!(formatter, "\nThe mesh {}. The shortest way there:\n", finding.violation)?;
            write!(formatter, "{}", finding.trace)?;
        }
        if !self.is_safe() {
            writeln!(formatter, "\n{}", wrapped(USUAL_FIX))?;
        }
        Ok(())
    }
}

const USUAL_FIX: &str = "The usual fix. Choose by something that both states carry and that orders all states, whoever has \
    which: the later updatedAt, then the greater JSON text. Or merge them, by a rule to which order and repetition make no \
    difference. Do not look at which of them is the master's.";

/// Where the states differ, and what is made of them.
fn compared(asymmetry: &Asymmetry) -> Vec<Vec<String>> {
    let Asymmetry { one, other, master_has_one, master_has_other } = asymmetry;
    let columns = [one, other, master_has_one, master_has_other];
    let titles = ["", "the one", "the other", "if the master has the one", "if it has the other"];
    let mut places = differences(Some(one), Some(other));
    for place in differences(Some(master_has_one), Some(master_has_other)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let cell = |state: &Value, place: &Pointer| place.of(state).map_or("—".to_string(), Value::to_string);
    let mut rows = vec![titles.map(str::to_string).to_vec()];
    rows.extend(places.iter().map(|place| {
        std::iter::once(place.to_string()).chain(columns.map(|state| cell(state, place))).collect()
    }));
    rows
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn broken(is_broken: bool) -> String {
    if is_broken { "BROKEN" } else { "held" }.to_string()
}

/// Documents for handlers that look at no field in particular.
fn notes() -> Documents {
    proptest::sample::select(vec![
        json!({ "title": "buy milk", "done": false, "updatedAt": 1 }),
        json!({ "title": "buy bread", "done": true, "updatedAt": 2 }),
    ])
    .into()
}

/// What meshes start from, and writes of other states, one at each of three peers.
fn scopes(states: &[Value]) -> impl Iterator<Item = (&Value, Vec<Write>)> {
    let scopes = states.len().min(SCOPES_MAX);
    (0..scopes).map(move |scope| {
        let start = scope * states.len() / scopes;
        let write = |peer: usize| {
            let state = &states[(start + 1 + peer) % states.len()];
            Write::concurrent(peer, ID, state.clone())
        };
        (&states[start], (0..3).map(write).collect())
    })
}

fn asymmetry(
    handler: &dyn RxdbConflictHandler,
    one: &Value,
    other: &Value,
    assumed: Option<&Value>,
) -> Option<Asymmetry> {
    let master_has_one = handler.resolve(one, other, assumed);
    let master_has_other = handler.resolve(other, one, assumed);
    let is_same = deep_equal(&master_has_one, &master_has_other);
    let (one, other) = (one.clone(), other.clone());
    (!is_same).then_some(Asymmetry { one, other, master_has_one, master_has_other })
}

fn refused(error: &PeerError) -> String {
    format!("the protocol cannot go on: {error}")
}

/// The handler under test, and the first of its calls that went wrong. After such a call, the master wins.
struct Watched {
    inner: Arc<dyn RxdbConflictHandler>,
    primary_key: String,
    fault: Mutex<Option<RxdbFault>>,
}

impl Watched {
    fn fault(&self) -> Option<RxdbFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: String, one: &Value, other: &Value) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| RxdbFault { what, states: [one.clone(), other.clone()] });
    }

    fn is_state_of(&self, resolved: &Value, real: &Value) -> bool {
        let is_same = resolved.get(&self.primary_key) == real.get(&self.primary_key);
        is_same && resolved.get("_deleted").is_none_or(Value::is_boolean)
    }
}

impl RxdbConflictHandler for Watched {
    fn is_equal(&self, a: &Value, b: &Value) -> bool {
        quietly(|| self.inner.is_equal(a, b)).unwrap_or_else(|Panicked(message)| {
            self.note(format!("The handler panics in is_equal: {message}"), a, b);
            deep_equal(a, b)
        })
    }

    fn resolve(&self, real: &Value, new: &Value, assumed: Option<&Value>) -> Value {
        match quietly(|| self.inner.resolve(real, new, assumed)) {
            Ok(resolved) if self.is_state_of(&resolved, real) => return resolved,
            Ok(resolved) => {
                self.note(
                    format!("The handler makes what is no state of the document: {resolved}"),
                    real,
                    new,
                );
            }
            Err(Panicked(message)) => {
                self.note(format!("The handler panics in resolve: {message}"), real, new);
            }
        }
        real.clone()
    }
}
