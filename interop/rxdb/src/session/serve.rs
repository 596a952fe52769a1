//! What a master does: answers what forks ask, and tells its changes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use peerloom_core::{Checkpoint, DocumentId, Incarnation, PageLimits, Sequence};
use serde_json::Value;

use super::{Busy, Request, Session};
use crate::document::{Incoming, Unfit, to_rxdb};
use crate::exchange::{Direction, Exchange, Item, Reply, Shown};
use crate::interface::{Effect, Scanned};
use crate::message;

/// The most bytes of bodies that one scan reads.
pub(super) const SCAN_BYTES_MAX: NonZeroU32 = NonZeroU32::new(4 << 20).expect("a literal above zero");

/// The most documents of which is remembered how often the fork was shown them. With more, whatever it writes is sent back to it.
const SHOWN_MAX: usize = 16_384;

/// How far the change stream is.
#[derive(Debug, Default)]
pub(super) struct Serve {
    /// Everything up to here was told, or is left to be pulled.
    pub(super) streamed: Sequence,
    /// What may still be on its way through the fork.
    on_its_way: OnItsWay,
}

/// States that the fork was shown, and that it may take up after a write of its own which we have accepted meanwhile.
///
/// RxDB pulls and pushes beside each other. A state that it was sent before its write was accepted, and that it takes up afterwards, looks to it
/// like a newer one of its master's, and replaces what it wrote. A master of RxDB's heals that by sending every write back on its change
/// stream. Here that is done where it matters. A fork that writes upon the only state that it was shown has taken that up.
#[derive(Debug, Default)]
struct OnItsWay {
    shown: BTreeMap<DocumentId, Times>,
    /// There were too many to remember.
    any: bool,
}

/// How often a fork was shown a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Times {
    Once,
    /// Or once and in another way than it wanted.
    Often,
}

impl OnItsWay {
    fn show(&mut self, id: &DocumentId) {
        match self.shown.get_mut(id) {
            Some(times) => *times = Times::Often,
            None => self.remember(id, Times::Once),
        }
    }

    /// The fork was shown a document instead of being obeyed.
    fn refuse(&mut self, id: &DocumentId) {
        self.remember(id, Times::Often);
    }

    /// What the fork wrote upon our view is our view.
    fn accept(&mut self, id: &DocumentId) {
        if self.shown.get(id) == Some(&Times::Once) {
            self.shown.remove(id);
        }
    }

    /// The fork has by itself what we have.
    fn agree(&mut self, id: &DocumentId) {
        if let Some(times) = self.shown.get_mut(id) {
            *times = Times::Often;
        }
    }

    /// Whether our view is to be shown even if the fork is known to have it.
    fn may_replace(&self, id: &DocumentId) -> bool {
        self.any || self.shown.get(id) == Some(&Times::Often)
    }

    fn remember(&mut self, id: &DocumentId, times: Times) {
        if self.shown.len() < SHOWN_MAX || self.shown.contains_key(id) {
            self.shown.insert(id.clone(), times);
        } else {
            self.any = true;
            self.shown.clear();
        }
    }
}

/// A page on its way.
#[derive(Debug)]
pub(super) struct Building {
    /// The request that it answers and the checkpoint given with it; `None` for the change stream.
    request: Option<(String, Value)>,
    /// The peer says that it has nothing, whatever it is known to have had.
    from_nothing: bool,
    documents_max: usize,
    documents: Vec<String>,
    bytes: usize,
    cursor: Sequence,
}

impl Session {
    pub(super) fn begin_to_serve(&mut self) {
        self.serve.streamed = self.snapshot.end;
        if self.serves() {
            self.resync();
        }
    }

    /// Whether peers are shown anything.
    pub(super) fn serves(&self) -> bool {
        self.settings().direction != Direction::PullOnly
    }

    pub(super) fn answer(&mut self, request: Request, effects: &mut Vec<Effect>) {
        let Request { id, method, mut params } = request;
        if method == "masterWrite" {
            return match params.first_mut().map(Value::take) {
                Some(Value::Array(rows)) => self.write(id, rows, effects),
                _ => self.send(message::failure(&id, "masterWrite takes a list of rows")),
            };
        }
        let checkpoint = params.first_mut().map(Value::take).unwrap_or_default();
        let Some(batch) = params.get(1).and_then(Value::as_u64).filter(|batch| *batch > 0) else {
            let detail = "masterChangesSince takes a checkpoint and a batch size above zero";
            return self.send(message::failure(&id, detail));
        };
        let building = Building {
            documents_max: usize::try_from(batch).unwrap_or(usize::MAX),
            documents: Vec::new(),
            bytes: 0,
            cursor: self.position(parse_checkpoint(&checkpoint)),
            from_nothing: checkpoint.is_null(),
            request: Some((id, checkpoint)),
        };
        match self.serves() {
            true => self.read_on(building, effects),
            false => self.finish(building),
        }
    }

    /// Tells what has changed. Returns whether there was anything to do.
    pub(super) fn stream(&mut self, effects: &mut Vec<Effect>) -> bool {
        if !self.serves() || self.serve.streamed >= self.snapshot.end {
            return false;
        }
        let building = Building {
            request: None,
            from_nothing: false,
            documents_max: self.settings().batch_documents as usize,
            documents: Vec::new(),
            bytes: 0,
            cursor: self.serve.streamed,
        };
        self.read_on(building, effects);
        true
    }

    fn read_on(&mut self, building: Building, effects: &mut Vec<Effect>) {
        const SCAN_DOCUMENTS_MAX: usize = 1000;
        let documents = (building.documents_max - building.documents.len()).clamp(1, SCAN_DOCUMENTS_MAX);
        let documents_max = NonZeroU32::new(documents as u32).expect("at least one");
        let limits = PageLimits { documents_max, bytes_max: SCAN_BYTES_MAX };
        effects.push(Effect::Scan { token: self.token(), after: building.cursor, limits });
        self.busy = Some(Busy::Serving(building));
    }

    pub(super) fn read_to_serve(
        &mut self,
        mut building: Building,
        records: Vec<Scanned>,
        effects: &mut Vec<Effect>,
    ) {
        let settings = self.settings();
        let (documents_max, bytes_max) = (
            building.documents_max.min(settings.page_documents_max.max(1) as usize),
            settings.page_bytes_max,
        );
        let mut reached_end = records.is_empty();
        for scanned in records {
            if building.documents.len() >= documents_max || building.bytes >= bytes_max {
                break;
            }
            building.cursor = scanned.record.sequence;
            reached_end = building.cursor >= self.snapshot.end;
            let is_streamed = building.request.is_none();
            let anyhow =
                building.from_nothing || is_streamed && self.serve.on_its_way.may_replace(&scanned.record.id);
            if let Some(text) = self.shown(scanned, anyhow, effects) {
                building.bytes += text.len();
                building.documents.push(text);
            }
        }
        let is_full = building.documents.len() >= documents_max || building.bytes >= bytes_max;
        if !is_full && !reached_end {
            return self.read_on(building, effects);
        }
        // A page that is shorter than asked for means the end to a fork.
        let misleads =
            building.request.is_some() && building.documents.len() < building.documents_max && !reached_end;
        self.finish(building);
        if misleads {
            self.resync();
        }
    }

    /// A document as the peer is to see it, unless it must not or cannot have it. `anyhow` even if it is known to have it already.
    fn shown(&mut self, scanned: Scanned, anyhow: bool, effects: &mut Vec<Effect>) -> Option<String> {
        let shown = scanned.shown().filter(|shown| anyhow || !shown.is_unchanged())?;
        match self.text(&shown) {
            Ok(text) => {
                self.serve.on_its_way.show(&shown.id);
                Some(text)
            }
            Err(why) => {
                self.left_out(Some(shown.id), why, effects);
                None
            }
        }
    }

    pub(super) fn text(&self, shown: &Shown) -> Result<String, Unfit> {
        to_rxdb(&shown.id, &shown.view, &shown.last_body, &self.settings().primary_key)
    }

    fn finish(&mut self, building: Building) {
        self.counters.documents_sent += building.documents.len() as u64;
        let documents = building.documents.join(",");
        let checkpoint = match building.documents.is_empty() {
            true => None,
            false => {
                self.snapshot.checkpoint(building.cursor).map(|checkpoint| print_checkpoint(&checkpoint))
            }
        };
        let page = |checkpoint: &str| format!(r#"{{"checkpoint":{checkpoint},"documents":[{documents}]}}"#);
        match building.request {
            Some((id, given)) => {
                let checkpoint = checkpoint.unwrap_or_else(|| given.to_string());
                self.send(message::response(&id, &page(&checkpoint)));
            }
            None => {
                self.serve.streamed = building.cursor.max(self.serve.streamed);
                if let Some(checkpoint) = checkpoint {
                    self.send(message::response(message::CHANGE_STREAM, &page(&checkpoint)));
                }
            }
        }
    }

    fn resync(&mut self) {
        self.send(message::response(message::CHANGE_STREAM, &message::quoted(message::RESYNC)));
    }

    fn write(&mut self, request: String, rows: Vec<Value>, effects: &mut Vec<Effect>) {
        // Not as long as what was sent, of which little may be documents.
        let mut items: Vec<Item> = Vec::new();
        for row in rows {
            let Value::Object(mut row) = row else { continue };
            let primary_key = &self.config.settings.primary_key;
            let read = |state: Value| Incoming::from_value(state, primary_key);
            let new = row.remove("newDocumentState").ok_or(Unfit::NotADocument).and_then(read);
            let assumed = row.remove("assumedMasterState").and_then(|state| read(state).ok());
            self.counters.documents_received += 1;
            match new {
                Ok(new) => items.push(Item::Row { assumed, new }),
                // Refusing it would hold up the peer's other documents for ever.
                Err(why) => self.left_out(None, why, effects),
            }
        }
        let (token, direction) = (self.token(), self.settings().direction);
        let ids = items.iter().map(|item| item.id().clone()).collect();
        effects.push(Effect::Exchange(Exchange { token, direction, items, link: None }));
        self.busy = Some(Busy::Writing { request, ids });
    }

    /// `ids` are those of the rows that were written, one for each reply.
    pub(super) fn written(
        &mut self,
        request: &str,
        ids: &[DocumentId],
        replies: Vec<Reply>,
        effects: &mut Vec<Effect>,
    ) {
        let (mut refused, mut bytes) = (Vec::new(), 0);
        for (id, reply) in ids.iter().zip(replies) {
            match reply {
                Reply::Agreed => self.serve.on_its_way.agree(id),
                Reply::Accepted => self.serve.on_its_way.accept(id),
                Reply::Differs(shown) => match self.text(&shown) {
                    Ok(text) => {
                        self.serve.on_its_way.refuse(id);
                        bytes += text.len();
                        refused.push(text);
                    }
                    Err(why) => self.left_out(Some(shown.id), why, effects),
                },
                Reply::Unfit(id, why) => self.left_out(Some(id), why, effects),
            }
            // A few bytes of a row can call for a document of megabytes, again and again.
            if bytes > self.settings().message_bytes_max {
                return self
                    .send(message::failure(request, "too many conflicts for one answer: write fewer rows"));
            }
        }
        self.send(message::response(request, &format!("[{}]", refused.join(","))));
    }
}

impl Scanned {
    /// The document as the peer may see it.
    pub(super) fn shown(self) -> Option<Shown> {
        let Self { record, served, exchanged, last_body } = self;
        served.then(|| Shown {
            context: record.document.context().clone(),
            view: record.view().clone(),
            id: record.id,
            last_body,
            exchanged,
        })
    }
}

/// A checkpoint as forks keep it.
fn print_checkpoint(checkpoint: &Checkpoint) -> String {
    let (incarnation, end) = (checkpoint.incarnation.number(), checkpoint.end.number());
    format!(r#"{{"id":"{incarnation:016x}.{end}","lwt":{}}}"#, checkpoint.sequence.number())
}

/// Reads one back. One that is not ours means from the start.
fn parse_checkpoint(value: &Value) -> Option<Checkpoint> {
    let (incarnation, end) = value.get("id")?.as_str()?.split_once('.')?;
    let (end, sequence) = (end.parse().ok()?, value.get("lwt")?.as_u64()?);
    (sequence <= end).then_some(Checkpoint {
        incarnation: Incarnation::new(u64::from_str_radix(incarnation, 16).ok()?),
        end: Sequence::new(end),
        sequence: Sequence::new(sequence),
    })
}
