//! What a fork does: pulls what its master has, and pushes what it has itself.
//!
//! It pulls to the end before it pushes, so that what both have is known. A master that was emptied says so to nobody: before anything else
//! it is asked for the oldest that it has. A push names the state that the master is known to have; where the
//! master has another one by then, that is taken like anything else that it tells, and what comes of it is pushed again.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

use peerloom_core::{DocumentId, Now, PageLimits, Sequence};
use serde_json::Value;

use super::serve::SCAN_BYTES_MAX;
use super::{Asked, Busy, Session, Told};
use crate::document::{Incoming, Unfit, to_rxdb};
use crate::exchange::{Direction, Exchange, Item, LinkState, Reply, Shown};
use crate::interface::{CloseReason, Effect, Scanned};

/// The most documents that wait to be pushed although the feed has passed them. Beyond that the feed is read anew.
const AGAIN_MAX: usize = 1000;

/// The most bytes of a master's checkpoint. RxDB's have some tens.
const CHECKPOINT_BYTES_MAX: usize = 64 << 10;

/// How many documents a master that was emptied may tell of until all is pushed to it again. With more it counts as one that was not.
const HEARD_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Follow {
    start: Start,
    over: Option<Over>,
    needs_pull: bool,
    pulling: bool,
    /// Everything up to here is with the master, but for `again`.
    pushed: Sequence,
    /// What has to be pushed, although the feed has passed it.
    again: VecDeque<Shown>,
    /// How many of `again` go alone, because the master refused them together.
    alone: usize,
    pub(super) asks_for_token: bool,
    /// Something failed: wait before anything else is asked.
    pub(super) waits: bool,
}

/// Whether it is known yet what has become of the master since the last time.
#[derive(Debug, Default, Eq, PartialEq)]
enum Start {
    Look,
    Looking,
    #[default]
    Done,
}

/// The master may have lost what it was known to have: everything is pushed again, but for what it tells of.
#[derive(Debug)]
struct Over {
    /// How far it had been read before. Kept until everything is pushed, so that a restart begins here again.
    pulled: Option<String>,
    heard: BTreeSet<DocumentId>,
}

/// A document that is being pushed.
#[derive(Debug)]
pub(super) struct PushRow {
    shown: Shown,
}

impl Follow {
    pub(super) fn look_failed(&mut self) {
        self.start = Start::Look;
    }

    /// Whether the master is still taken to have what it was known to have of a document.
    fn trusts(&self, id: &DocumentId) -> bool {
        self.over.as_ref().is_none_or(|over| over.heard.contains(id))
    }

    pub(super) fn pull_failed(&mut self) {
        (self.pulling, self.needs_pull) = (false, true);
    }

    pub(super) fn push_failed(&mut self, rows: Vec<PushRow>) {
        rows.into_iter().rev().for_each(|row| self.again.push_front(row.shown));
        self.needs_pull = true;
    }
}

impl Session {
    pub(super) fn begin_to_follow(&mut self) {
        self.follow.needs_pull = true;
        self.follow.pushed = self.position(self.link.pushed);
        if self.link != LinkState::default() {
            self.follow.start = Start::Look;
        }
    }

    fn pulls(&self) -> bool {
        self.settings().direction != Direction::PushOnly
    }

    pub(super) fn is_followed(&self) -> bool {
        let follow = &self.follow;
        let pulled = !self.pulls() || !(follow.needs_pull || follow.pulling);
        let pushed = !self.serves() || (follow.again.is_empty() && follow.pushed >= self.snapshot.end);
        pulled && pushed && self.retry_at.is_none()
    }

    /// Asks for the next thing. Returns whether something is under way now that was not.
    pub(super) fn follow(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        if self.retry_at.is_some() {
            return false;
        }
        if self.follow.start != Start::Done {
            if self.follow.start == Start::Look {
                self.follow.start = Start::Looking;
                self.ask(now, Asked::Oldest, "[null,1]");
            }
            return false;
        }
        if self.follow.needs_pull && self.pulls() {
            if !self.follow.pulling {
                self.pull(now);
            }
            return false;
        }
        let pushing = self.awaited.iter().any(|awaited| matches!(awaited.kind, Asked::Push(_)));
        if self.follow.pulling || pushing || !self.serves() {
            return false;
        }
        if !self.follow.again.is_empty() {
            let batch = match self.follow.alone {
                0 => self.settings().batch_documents.max(1) as usize,
                _ => 1,
            };
            self.follow.alone = self.follow.alone.saturating_sub(1);
            let rows = self.follow.again.drain(..batch.min(self.follow.again.len())).collect();
            self.push(now, rows, effects);
            return true;
        }
        if self.follow.pushed >= self.snapshot.end {
            self.follow.over = None;
            return false;
        }
        let documents_max = NonZeroU32::new(self.settings().batch_documents).unwrap_or(NonZeroU32::MIN);
        let limits = PageLimits { documents_max, bytes_max: SCAN_BYTES_MAX };
        effects.push(Effect::Scan { token: self.token(), after: self.follow.pushed, limits });
        self.busy = Some(Busy::Pushing);
        true
    }

    fn pull(&mut self, now: Now) {
        (self.follow.needs_pull, self.follow.pulling) = (false, true);
        let checkpoint = self.link.pulled.as_deref().unwrap_or("null");
        let params = format!("[{checkpoint},{}]", self.settings().batch_documents.max(1));
        self.ask(now, Asked::Pull, &params);
    }

    pub(super) fn attend(&mut self, now: Now, told: Told, effects: &mut Vec<Effect>) {
        match told {
            Told::Oldest(answer) => self.looked(answer),
            Told::Resync => self.follow.needs_pull = true,
            // It will be among what is pulled.
            Told::Changes(_) if self.follow.pulling || self.follow.start != Start::Done => {
                self.follow.needs_pull = true;
            }
            Told::Changes(changes) if self.pulls() => {
                let (documents, checkpoint) = page(changes);
                self.note_pulled(&checkpoint, effects);
                if !self.closed {
                    self.take(documents, effects);
                }
            }
            Told::Changes(_) => {}
            Told::Pulled(answer) => {
                self.follow.pulling = false;
                let (documents, checkpoint) = page(answer);
                self.note_pulled(&checkpoint, effects);
                if self.closed {
                    return;
                }
                if documents.len() >= self.settings().batch_documents.max(1) as usize {
                    self.pull(now);
                }
                self.take(documents, effects);
            }
            Told::Pushed(rows, refused) => self.pushed(rows, refused, effects),
        }
    }

    /// All that a master has changed after it was last read, if there is anything at all: it may have been emptied since.
    fn looked(&mut self, answer: Value) {
        self.follow.start = Start::Done;
        let (documents, checkpoint) = page(answer);
        let pulled = self.link.pulled.clone();
        if documents.is_empty() || self.pulls() && is_after(&checkpoint, pulled.as_deref()) {
            self.follow.over = Some(Over { pulled, heard: BTreeSet::new() });
            self.follow.pushed = Sequence::default();
        }
    }

    /// Checkpoints are merged key by key, as RxDB does.
    fn note_pulled(&mut self, checkpoint: &Value, effects: &mut Vec<Effect>) {
        let Value::Object(newer) = checkpoint else { return };
        let earlier = self.link.pulled.as_deref().and_then(|pulled| serde_json::from_str(pulled).ok());
        let mut merged = match earlier {
            Some(Value::Object(earlier)) => earlier,
            _ => serde_json::Map::new(),
        };
        merged.extend(newer.clone());
        let (pulled, bytes_max) = (Value::Object(merged).to_string(), CHECKPOINT_BYTES_MAX);
        if pulled.len() > bytes_max {
            return self.close(CloseReason::Checkpoint { bytes: pulled.len(), bytes_max }, effects);
        }
        self.link.pulled = Some(pulled);
    }

    fn take(&mut self, documents: Vec<Value>, effects: &mut Vec<Effect>) {
        self.counters.documents_received += documents.len() as u64;
        let items = self.read(documents, effects).into_iter().map(Item::Has).collect();
        self.exchange(items, effects);
    }

    fn read(&mut self, documents: Vec<Value>, effects: &mut Vec<Effect>) -> Vec<Incoming> {
        // Not as long as what was sent, of which little may be documents.
        let mut read = Vec::new();
        for document in documents {
            match Incoming::from_value(document, &self.config.settings.primary_key) {
                Ok(incoming) => {
                    self.hear(&incoming.id);
                    read.push(incoming);
                }
                Err(why) => self.left_out(None, why, effects),
            }
        }
        read
    }

    fn hear(&mut self, id: &DocumentId) {
        let Some(over) = &mut self.follow.over else { return };
        over.heard.insert(id.clone());
        if over.heard.len() > HEARD_MAX {
            self.follow.over = None;
        }
    }

    fn exchange(&mut self, items: Vec<Item>, effects: &mut Vec<Effect>) {
        // While something is left to be pushed again, a restart must find it, and looks at everything.
        let is_settled = self.follow.again.is_empty() && self.follow.over.is_none();
        self.link.pushed = match is_settled && self.follow.pushed <= self.snapshot.end {
            true => self.snapshot.checkpoint(self.follow.pushed),
            false => None,
        };
        let mut link = self.link.clone();
        if let Some(over) = &self.follow.over {
            link.pulled.clone_from(&over.pulled);
        }
        let (token, direction) = (self.token(), self.settings().direction);
        effects.push(Effect::Exchange(Exchange { token, direction, items, link: Some(link) }));
        self.busy = Some(Busy::Following);
    }

    pub(super) fn followed(&mut self, replies: Vec<Reply>, effects: &mut Vec<Effect>) {
        for reply in replies {
            match reply {
                Reply::Agreed | Reply::Accepted => {}
                Reply::Differs(shown) => {
                    self.follow.again.retain(|earlier| earlier.id != shown.id);
                    self.follow.again.push_back(shown);
                }
                Reply::Unfit(id, why) => self.left_out(Some(id), why, effects),
            }
            if self.follow.again.len() > AGAIN_MAX {
                // Whatever the master is not known to have is found once more.
                self.follow.again.clear();
                (self.follow.alone, self.follow.pushed) = (0, Sequence::ZERO);
            }
        }
    }

    pub(super) fn read_to_push(&mut self, now: Now, records: Vec<Scanned>, effects: &mut Vec<Effect>) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        if records.is_empty() {
            self.follow.pushed = self.snapshot.end;
        }
        for scanned in records {
            if bytes >= self.settings().page_bytes_max {
                break;
            }
            self.follow.pushed = scanned.record.sequence;
            let shown = scanned.shown();
            if let Some(shown) = shown.filter(|shown| !(self.follow.trusts(&shown.id) && shown.is_known())) {
                bytes += shown.view.bytes();
                rows.push(shown);
            }
        }
        self.push(now, rows, effects);
    }

    /// Sends rows, without those that the master has or cannot have.
    fn push(&mut self, now: Now, rows: Vec<Shown>, effects: &mut Vec<Effect>) {
        let (mut sent, mut texts) = (Vec::new(), Vec::new());
        for shown in rows {
            let text = match self.text(&shown) {
                Ok(text) => text,
                Err(why) => {
                    self.left_out(Some(shown.id), why, effects);
                    continue;
                }
            };
            let primary_key = &self.settings().primary_key;
            let assumed = shown
                .exchanged
                .as_ref()
                .filter(|_| self.follow.trusts(&shown.id))
                .and_then(|known| to_rxdb(&shown.id, &known.state, &shown.last_body, primary_key).ok());
            match assumed {
                // It was removed here after it had been deleted there, or the like.
                Some(assumed) if assumed == text => continue,
                Some(assumed) => {
                    texts.push(format!(r#"{{"assumedMasterState":{assumed},"newDocumentState":{text}}}"#));
                }
                None => texts.push(format!(r#"{{"newDocumentState":{text}}}"#)),
            }
            sent.push(PushRow { shown });
        }
        if sent.is_empty() {
            return;
        }
        self.counters.documents_sent += sent.len() as u64;
        let params = format!("[[{}]]", texts.join(","));
        self.ask(now, Asked::Push(sent), &params);
    }

    fn pushed(&mut self, rows: Vec<PushRow>, refused: Value, effects: &mut Vec<Effect>) {
        let Value::Array(refused) = refused else {
            self.follow.push_failed(rows);
            self.follow.waits = true;
            return;
        };
        let mut refused = self.read(refused, effects);
        refused.retain(|incoming| rows.iter().any(|row| row.shown.id == incoming.id));
        let mut items = Vec::with_capacity(rows.len());
        for PushRow { shown } in rows {
            match refused.iter().position(|incoming| incoming.id == shown.id) {
                None => {
                    let pushed = shown.taken();
                    items.push(Item::Taken { id: shown.id, basis: shown.exchanged, pushed });
                }
                // It has what we took it to have, and refuses all the same: it would for ever.
                Some(index)
                    if shown.exchanged.as_ref().is_some_and(|known| refused[index].equals(&known.state)) =>
                {
                    let detail = "the peer refuses it without having anything else".to_owned();
                    self.left_out(Some(shown.id), Unfit::Refused { detail }, effects);
                }
                Some(index) => items.push(Item::Has(refused.swap_remove(index))),
            }
        }
        self.exchange(items, effects);
    }

    /// The master answered a push with an error. Returns whether to go on at once.
    pub(super) fn push_refused(
        &mut self,
        mut rows: Vec<PushRow>,
        detail: String,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if rows.len() == 1 {
            let row = rows.remove(0);
            self.left_out(Some(row.shown.id), Unfit::Refused { detail }, effects);
        } else {
            // One of them may be what it stumbles over.
            self.follow.alone = rows.len();
            self.follow.push_failed(rows);
        }
        true
    }
}

/// Whether a checkpoint of the master's lies behind another, in the order in which RxDB reads.
fn is_after(checkpoint: &Value, earlier: Option<&str>) -> bool {
    let Some(earlier) = earlier else { return true };
    let earlier: Value = serde_json::from_str(earlier).unwrap_or_default();
    let place = |checkpoint: &Value| {
        Some((checkpoint.get("lwt")?.as_f64()?, checkpoint.get("id")?.as_str()?.to_owned()))
    };
    place(checkpoint).partial_cmp(&place(&earlier)) == Some(Ordering::Greater)
}

/// The documents and the checkpoint of a page.
fn page(mut page: Value) -> (Vec<Value>, Value) {
    let documents = match page.get_mut("documents").map(Value::take) {
        Some(Value::Array(documents)) => documents,
        _ => Vec::new(),
    };
    (documents, page.get_mut("checkpoint").map(Value::take).unwrap_or_default())
}
