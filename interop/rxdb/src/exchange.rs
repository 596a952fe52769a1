//! Exchanges: what a peer's states mean, decided together with the commit that they lead to.
//!
//! An RxDB peer has no causality to offer, so its replica is treated as a person who writes through this one. For each peer and document
//! there is a record of what the peer is known to have: that is what its next write has seen. Most of what it sends is no write at
//! all, but something that it was shown; see [`Exchange::decide`].

use std::collections::BTreeMap;

use bytes::Bytes;
use peerloom_core::{
    Checkpoint, Condition, Context, DocumentId, Dot, Incarnation, PastViews, Resolver, Seen, Sequence, Stamp,
    State, Transaction, Write, WriteError, Written,
};

use crate::document::{Incoming, Unfit};
use crate::token::Token;

/// Which way documents go between a collection and RxDB peers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only from RxDB peers. They are shown nothing.
    PullOnly,
    /// Only to RxDB peers. What they write is not taken, and where it differs from a document here it is replaced.
    PushOnly,
}

/// What a peer is known to have of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchanged {
    /// Every write that the peer has seen.
    pub context: Context,
    /// A write made on its behalf that stands beside others, which it has not seen.
    pub dot: Option<Dot>,
    /// The document as the peer has it, with what our conflict handler notes of it.
    pub state: State,
}

/// How far two sides have read each other's changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkState {
    /// How far we have read the peer's, in its words: JSON.
    pub pulled: Option<String>,
    /// How far ours are with the peer.
    pub pushed: Option<Checkpoint>,
}

/// Something to be decided on.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The peer, our master, has this.
    Has(Incoming),
    /// The peer, our fork, wants this to be written, and believes that we have `assumed`.
    Row {
        /// What it believes.
        assumed: Option<Incoming>,
        /// What it wants.
        new: Incoming,
    },
    /// The peer, our master, has taken what we pushed.
    Taken {
        /// The document.
        id: DocumentId,
        /// What it was known to have when we pushed.
        basis: Option<Exchanged>,
        /// What we pushed.
        pushed: Exchanged,
    },
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each item of a page, and pages are small")]
pub enum Reply {
    /// Nothing is left to be done.
    Agreed,
    /// What the peer wrote upon our view is our view now.
    Accepted,
    /// The peer should have what we have instead.
    Differs(Shown),
    /// It was not taken.
    Unfit(DocumentId, Unfit),
}

/// A document to be shown to a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The document.
    pub id: DocumentId,
    /// Every write that it includes.
    pub context: Context,
    /// What applications see.
    pub view: State,
    /// The fields of one that was removed.
    pub last_body: Bytes,
    /// What the peer is known to have.
    pub exchanged: Option<Exchanged>,
}

/// Items that are decided and committed as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The peer.
    pub token: Token,
    /// Which way documents go.
    pub direction: Direction,
    /// The items, in the order in which they came.
    pub items: Vec<Item>,
    /// How far things are once this is durable, if that changes.
    pub link: Option<LinkState>,
}

/// Where it is kept how far things are with a peer.
pub fn link_key(token: &Token) -> Bytes {
    [b"xl", token.as_str().as_bytes()].concat().into()
}

/// Where it is kept what a peer is known to have of a document.
pub fn exchanged_key(token: &Token, id: &DocumentId) -> Bytes {
    [b"xd", token.as_str().as_bytes(), b"\0", id.as_bytes()].concat().into()
}

/// With what the keys begin under which it is kept what a peer is known to have.
pub fn exchanged_prefix(token: &Token) -> Bytes {
    [b"xd", token.as_str().as_bytes(), b"\0"].concat().into()
}

impl Item {
    pub(crate) fn id(&self) -> &DocumentId {
        match self {
            Self::Has(incoming) | Self::Row { new: incoming, .. } => &incoming.id,
            Self::Taken { id, .. } => id,
        }
    }
}

impl Exchange {
    /// The documents that must be in the transaction.
    pub fn ids(&self) -> Vec<DocumentId> {
        let mut ids: Vec<_> = self.items.iter().map(|item| item.id().clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// The metadata that it needs.
    pub fn keys(&self) -> Vec<Bytes> {
        self.ids().iter().map(|id| exchanged_key(&self.token, id)).collect()
    }

    /// Decides, and adds to the transaction what follows. `metadata` answers [`Self::keys`], in their order. One reply for each item.
    ///
    /// **What is not a write**: a state equal to the last exchanged, to our view, or to one of the last views that the document had here
    /// and that the peer was not known to have. What we pushed and have no answer to is among these. It is noted as exchanged.
    ///
    /// **First contact**: without a record, and unlike any view, a state has seen nothing and is imported: it is never lost, and never
    /// outranks what is here. Otherwise a peer that slept through a delete would revive the document everywhere.
    ///
    /// Everything else is a write on the peer's behalf: a dot of ours, which has seen what the peer is known to have.
    pub fn decide(
        &self,
        transaction: &mut Transaction<'_>,
        metadata: Vec<Option<Bytes>>,
        fresh: Incarnation,
        resolver: &mut dyn Resolver,
    ) -> Vec<Reply> {
        let values = metadata.into_iter().map(|value| value.and_then(|value| Exchanged::decode(&value)));
        let records: BTreeMap<_, _> = self.ids().into_iter().zip(values).collect();
        let mut deciding =
            Deciding { token: &self.token, direction: self.direction, transaction, records, fresh, resolver };
        let replies: Vec<Reply> = self.items.iter().map(|item| deciding.decide(item)).collect();
        if let Some(mut link) = self.link.clone() {
            if replies.iter().any(|reply| matches!(reply, Reply::Differs(_))) {
                // What has to be pushed again is behind the checkpoint: a restart must look at everything.
                link.pushed = None;
            }
            transaction.set_metadata(link_key(&self.token), Some(link.encode()));
        }
        replies
    }
}

struct Deciding<'d, 't> {
    token: &'d Token,
    direction: Direction,
    transaction: &'d mut Transaction<'t>,
    records: BTreeMap<DocumentId, Option<Exchanged>>,
    fresh: Incarnation,
    resolver: &'d mut dyn Resolver,
}

/// A document as it is here.
struct Here {
    context: Context,
    view: State,
    past: PastViews,
}

impl Deciding<'_, '_> {
    fn decide(&mut self, item: &Item) -> Reply {
        match item {
            Item::Has(state) => self.has(state),
            Item::Row { assumed, new } => self.row(assumed.as_ref(), new),
            Item::Taken { id, basis, pushed } => {
                // What the peer wrote since is newer than our push.
                if self.record(id) == basis.as_ref() {
                    self.note(id, pushed.clone());
                }
                Reply::Agreed
            }
        }
    }

    fn has(&mut self, state: &Incoming) -> Reply {
        let here = self.here(&state.id);
        let record = self.record(&state.id).cloned();
        if let Some(known) = known(record.as_ref(), state, here.as_ref()) {
            self.note(&state.id, known);
        } else if self.direction == Direction::PushOnly {
            // Its state is not taken. It is what ours replaces.
            let context = record.map(|record| record.context).unwrap_or_default();
            self.note(&state.id, Exchanged { context, dot: None, state: state.state() });
        } else if let Err(error) = self.write(state, record) {
            return refused(state, &error);
        }
        self.shown_unless_equal(state)
    }

    fn row(&mut self, assumed: Option<&Incoming>, new: &Incoming) -> Reply {
        if self.direction == Direction::PullOnly {
            return match self.has(new) {
                Reply::Differs(_) => Reply::Agreed,
                reply => reply,
            };
        }
        let here = self.here(&new.id);
        let mut record = self.record(&new.id).cloned();
        if let Some(proven) = assumed.and_then(|state| known(record.as_ref(), state, here.as_ref())) {
            self.note(&new.id, proven.clone());
            record = Some(proven);
        }
        if let Some(known) = known(record.as_ref(), new, here.as_ref()) {
            self.note(&new.id, known);
            return self.shown_unless_equal(new);
        }
        if self.direction == Direction::PushOnly {
            return if here.is_some() { self.shown_unless_equal(new) } else { Reply::Agreed };
        }
        let accepted = match (&here, assumed) {
            (None, _) => true,
            (Some(here), Some(assumed)) => assumed.equals(&here.view),
            (Some(_), None) => false,
        };
        if !accepted && record.is_some() {
            return self.shown_unless_equal(new);
        }
        match self.write(new, record) {
            Err(error) => refused(new, &error),
            Ok(()) if accepted => Reply::Accepted,
            Ok(()) => self.shown_unless_equal(new),
        }
    }

    /// Writes on the peer's behalf, or imports if nothing is known of it.
    fn write(&mut self, state: &Incoming, record: Option<Exchanged>) -> Result<(), WriteError> {
        let (id, deleted, body) = (state.id.clone(), state.deleted, state.body.clone());
        let seen_before = record.as_ref().map(|record| record.context.clone()).unwrap_or_default();
        let Written { dot, heads } = match record {
            None => self.transaction.import(id.clone(), deleted, body, self.fresh, self.resolver)?,
            Some(Exchanged { context, dot, state }) => {
                let seen = match dot {
                    Some(dot) => Seen::Wrote { context, dot, state },
                    None => Seen::Read { context, state: Some(state) },
                };
                let write = Write { id: id.clone(), deleted, body, seen, condition: Condition::None };
                self.transaction.write(write, self.resolver)?
            }
        };
        let (document, _, _) =
            self.transaction.document(&id, self.resolver).expect("it was written a moment ago");
        let head = document.heads().iter().find(|head| head.dot == dot).expect("a write is a head");
        let state = head.state.clone();
        let exchanged = match heads {
            1 => Exchanged { context: document.context().clone(), dot: None, state },
            _ => Exchanged { context: seen_before, dot: Some(dot), state },
        };
        self.note(&id, exchanged);
        Ok(())
    }

    fn here(&mut self, id: &DocumentId) -> Option<Here> {
        let (document, view, past) = self.transaction.document(id, self.resolver)?;
        Some(Here { context: document.context().clone(), view, past: past.clone() })
    }

    fn record(&self, id: &DocumentId) -> Option<&Exchanged> {
        self.records.get(id).and_then(Option::as_ref)
    }

    fn note(&mut self, id: &DocumentId, exchanged: Exchanged) {
        let record = self.records.entry(id.clone()).or_default();
        if record.as_ref() != Some(&exchanged) {
            self.transaction.set_metadata(exchanged_key(self.token, id), Some(exchanged.encode()));
            *record = Some(exchanged);
        }
    }

    fn shown_unless_equal(&mut self, state: &Incoming) -> Reply {
        match self.here(&state.id) {
            Some(here) if !state.equals(&here.view) => Reply::Differs(Shown {
                id: state.id.clone(),
                context: here.context,
                view: here.view,
                last_body: here.past.last_body,
                exchanged: self.record(&state.id).cloned(),
            }),
            _ => Reply::Agreed,
        }
    }
}

/// What a state proves that the peer has, if it is something that we know.
fn known(record: Option<&Exchanged>, state: &Incoming, here: Option<&Here>) -> Option<Exchanged> {
    // Equal to what it had: the older context claims less.
    if let Some(record) = record.filter(|record| state.equals(&record.state)) {
        return Some(record.clone());
    }
    let here = here?;
    if state.equals(&here.view) {
        return Some(Exchanged { context: here.context.clone(), dot: None, state: here.view.clone() });
    }
    let had = |context: &Context| record.is_some_and(|record| record.context.covers(context));
    let past = state.among(&here.past, |view| had(&view.context))?;
    let state = State { annotations: past.annotations.clone(), ..state.state() };
    Some(Exchanged { context: past.context.clone(), dot: None, state })
}

fn refused(state: &Incoming, error: &WriteError) -> Reply {
    Reply::Unfit(state.id.clone(), Unfit::Refused { detail: error.to_string() })
}

impl Incoming {
    fn state(&self) -> State {
        State { deleted: self.deleted, body: self.body.clone(), annotations: Bytes::new() }
    }
}

impl Shown {
    /// What the peer has once it has taken this.
    pub fn taken(&self) -> Exchanged {
        Exchanged { context: self.context.clone(), dot: None, state: self.view.clone() }
    }

    /// Whether nothing was written here since the peer was known to have it as it is. Of a peer that is served that is all that is known:
    /// nobody hears whether it has taken what it was served since, and a state that was changed and changed back is as new to it as any.
    pub fn is_unchanged(&self) -> bool {
        self.is_known() && self.exchanged.as_ref().is_some_and(|exchanged| exchanged.context == self.context)
    }

    /// Whether the peer was last known to have it as it is.
    pub fn is_known(&self) -> bool {
        let same = |state: &State| state.deleted == self.view.deleted && state.body == self.view.body;
        self.exchanged.as_ref().is_some_and(|exchanged| same(&exchanged.state))
    }
}

const WRITTEN: &str = "a vector takes every byte";

impl Exchanged {
    /// For the store: `[context, dot or null, deleted, body, annotations]`.
    pub fn encode(&self) -> Bytes {
        let mut encoder = minicbor::Encoder::new(Vec::with_capacity(64 + self.state.bytes()));
        let entries = self.context.iter();
        encoder.array(5).expect(WRITTEN).array(2 * entries.len() as u64).expect(WRITTEN);
        for (incarnation, stamp) in entries {
            encoder.u64(incarnation.number()).expect(WRITTEN).u64(stamp.number()).expect(WRITTEN);
        }
        match self.dot {
            None => encoder.null().expect(WRITTEN),
            Some(dot) => {
                encoder.array(2).expect(WRITTEN).u64(dot.incarnation.number()).expect(WRITTEN);
                encoder.u64(dot.stamp.number()).expect(WRITTEN)
            }
        };
        encoder.bool(self.state.deleted).expect(WRITTEN).bytes(&self.state.body).expect(WRITTEN);
        encoder.bytes(&self.state.annotations).expect(WRITTEN);
        encoder.into_writer().into()
    }

    /// Reads it back. What does not read as one is no record.
    pub fn decode(value: &Bytes) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(value);
        let array = |decoder: &mut minicbor::Decoder<'_>| decoder.array().ok().flatten();
        let entry = |decoder: &mut minicbor::Decoder<'_>| {
            let incarnation = Incarnation::new(decoder.u64().ok()?);
            Some((incarnation, Stamp::new(decoder.u64().ok()?).ok()?))
        };
        if array(&mut decoder)? != 5 {
            return None;
        }
        let numbers = array(&mut decoder)?;
        let context = (0..numbers / 2).map(|_| entry(&mut decoder)).collect::<Option<_>>()?;
        let dot = if decoder.datatype().ok()? == minicbor::data::Type::Null {
            decoder.null().ok()?;
            None
        } else {
            array(&mut decoder)?;
            let (incarnation, stamp) = entry(&mut decoder)?;
            Some(Dot { incarnation, stamp })
        };
        let deleted = decoder.bool().ok()?;
        let bytes = |decoder: &mut minicbor::Decoder<'_>| decoder.bytes().ok().map(Bytes::copy_from_slice);
        let state = State { deleted, body: bytes(&mut decoder)?, annotations: bytes(&mut decoder)? };
        Some(Self { context, dot, state })
    }
}

impl LinkState {
    /// For the store: `[incarnation, end, sequence]` or null, then text or null.
    pub fn encode(&self) -> Bytes {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.array(2).expect(WRITTEN);
        match &self.pushed {
            None => encoder.null().expect(WRITTEN),
            Some(checkpoint) => {
                encoder.array(3).expect(WRITTEN).u64(checkpoint.incarnation.number()).expect(WRITTEN);
                encoder.u64(checkpoint.end.number()).expect(WRITTEN);
                encoder.u64(checkpoint.sequence.number()).expect(WRITTEN)
            }
        };
        match &self.pulled {
            None => encoder.null().expect(WRITTEN),
            Some(pulled) => encoder.str(pulled).expect(WRITTEN),
        };
        encoder.into_writer().into()
    }

    /// Reads it back. What does not read means from the start.
    pub fn decode(value: &Bytes) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(value);
        decoder.array().ok().flatten().filter(|items| *items == 2)?;
        let is_null = |decoder: &minicbor::Decoder<'_>| {
            decoder.datatype().is_ok_and(|kind| kind == minicbor::data::Type::Null)
        };
        let pushed = if is_null(&decoder) {
            decoder.null().ok()?;
            None
        } else {
            decoder.array().ok().flatten().filter(|items| *items == 3)?;
            let incarnation = Incarnation::new(decoder.u64().ok()?);
            let (end, sequence) = (decoder.u64().ok()?, decoder.u64().ok()?);
            let fits = sequence <= end;
            fits.then_some(Checkpoint {
                incarnation,
                end: Sequence::new(end),
                sequence: Sequence::new(sequence),
            })
        };
        let pulled = if is_null(&decoder) { None } else { Some(decoder.str().ok()?.to_owned()) };
        Some(Self { pulled, pushed })
    }
}
