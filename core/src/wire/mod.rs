//! The wire format: what peers say to each other, in CBOR, one message at a time.
//!
//! Every message is an array whose first item is its kind. Later versions may append items to Hello, Offer and
//! Close, which a reader skips. Collections are named by their place in the *sender's* offers.

mod describe;
mod frame;
#[cfg(test)]
mod vectors;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

pub use describe::{describe, is_keep_alive};
pub use frame::FrameError;
pub(crate) use frame::{Assembler, Fragments};

use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Document;
use crate::feed::Checkpoint;
use crate::handshake::Proof;
use crate::id::{CollectionName, DocumentId, Incarnation, Opening};
use crate::session::{Capabilities, Refusal};
use crate::version_vector::{Context, Knowledge};

/// The only version there is.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// The fewest bytes that a document takes in a page, with an id of one letter and an empty body.
const DOCUMENT_BYTES_MIN: usize = 13;

/// A collection's place in the sender's offers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct OfferIndex(pub(crate) u32);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Hello {
    pub(crate) version_min: u32,
    pub(crate) version_max: u32,
    pub(crate) public_key: [u8; 32],
    pub(crate) opening: Opening,
    pub(crate) nonce: [u8; 32],
    /// The largest message that the sender of this Hello puts together.
    pub(crate) message_bytes_max: u32,
    /// What the sender does in the room besides replicating.
    pub(crate) capabilities: Capabilities,
}

/// A collection shared in this room.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Offer {
    pub(crate) collection: OfferIndex,
    pub(crate) name: CollectionName,
    pub(crate) schema_version: u32,
    pub(crate) handler: String,
    pub(crate) incarnation: Incarnation,
    /// Whether the sender answers pulls.
    pub(crate) serves: bool,
    /// Whether the sender will pull.
    pub(crate) pulls: bool,
    /// What names the filter on what the sender serves, if there is one.
    pub(crate) filter: Option<String>,
    pub(crate) knowledge: Knowledge,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pull {
    pub(crate) collection: OfferIndex,
    pub(crate) after: Option<Checkpoint>,
    /// How many pages may be sent before the first is acknowledged.
    pub(crate) pages: u32,
    pub(crate) documents_max: u32,
    pub(crate) bytes_max: u32,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Changes {
    pub(crate) collection: OfferIndex,
    pub(crate) documents: Vec<(DocumentId, Document)>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The scan reached the end of the feed and left nothing out but what the sink knows.
    pub(crate) complete: bool,
    /// What the source vouches for, as far as the sink was not known to know it.
    pub(crate) knowledge: Knowledge,
}

/// What has changed about the sender. Guides what the receiver sends, and is never joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Update {
    pub(crate) collection: OfferIndex,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) knowledge: Knowledge,
    /// Origins that the sender now hears from directly, or no longer does.
    pub(crate) connected: Vec<Incarnation>,
    pub(crate) disconnected: Vec<Incarnation>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    Hello(Hello),
    /// The proof of topic and identity, and how many Offers follow at once.
    Proof {
        proof: Proof,
        offers: u32,
    },
    /// What the application says of the sender, as the Proof has bound it. Said to those alone who have proven the topic key.
    Claim(Bytes),
    Offer(Offer),
    Pull(Pull),
    /// One page is durable; another may be sent.
    More {
        collection: OfferIndex,
    },
    Changes(Changes),
    Update(Update),
    /// The highest stamp per origin among the documents held back.
    Announce {
        collection: OfferIndex,
        origins: Context,
    },
    /// Send what comes from these origins at once.
    Graft {
        collection: OfferIndex,
        origins: Vec<Incarnation>,
    },
    /// Hold back what comes from these origins.
    Prune {
        collection: OfferIndex,
        origins: Vec<Incarnation>,
    },
    Ping,
    Pong,
    Close(Farewell),
}

/// Why the sender closes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Farewell {
    Left,
    Refused(Refusal),
    Violation(String),
    Failed(String),
}

mod kind {
    pub(super) const HELLO: u64 = 0;
    pub(super) const PROOF: u64 = 1;
    pub(super) const OFFER: u64 = 2;
    pub(super) const PULL: u64 = 3;
    pub(super) const MORE: u64 = 4;
    pub(super) const CHANGES: u64 = 5;
    pub(super) const UPDATE: u64 = 6;
    pub(super) const ANNOUNCE: u64 = 7;
    pub(super) const GRAFT: u64 = 8;
    pub(super) const PRUNE: u64 = 9;
    pub(super) const PING: u64 = 10;
    pub(super) const PONG: u64 = 11;
    pub(super) const CLOSE: u64 = 12;
    pub(super) const CLAIM: u64 = 13;
}

/// The most bytes of text in a Close; longer ones are cut.
const FAREWELL_TEXT_BYTES_MAX: usize = 512;

/// The most bytes of a message until both sides have proven themselves. Whoever just knocks gets no more memory than that.
pub(crate) const HANDSHAKE_MESSAGE_BYTES_MAX: usize = CLAIM_BYTES_MAX + 1024;

/// The most bytes of a claim, which says to a peer's application who this replica is.
pub const CLAIM_BYTES_MAX: usize = 4096;

/// The most bytes of a handler's id and of a filter's name.
pub(crate) const NAME_BYTES_MAX: usize = 255;

impl Message {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Proof { .. } => "Proof",
            Self::Claim(_) => "Claim",
            Self::Offer(_) => "Offer",
            Self::Pull(_) => "Pull",
            Self::More { .. } => "More",
            Self::Changes(_) => "Changes",
            Self::Update(_) => "Update",
            Self::Announce { .. } => "Announce",
            Self::Graft { .. } => "Graft",
            Self::Prune { .. } => "Prune",
            Self::Ping => "Ping",
            Self::Pong => "Pong",
            Self::Close(_) => "Close",
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        match self {
            Self::Hello(hello) => {
                let says_more = hello.capabilities != Capabilities::NONE;
                writer.array(7 + usize::from(says_more)).number(kind::HELLO);
                writer.number(hello.version_min.into()).number(hello.version_max.into());
                writer.bytes(&hello.public_key).number(hello.opening.number()).bytes(&hello.nonce);
                writer.number(hello.message_bytes_max.into());
                if says_more {
                    writer.number(hello.capabilities.number());
                }
            }
            Self::Proof { proof, offers } => {
                writer.array(5).number(kind::PROOF).bytes(&proof.topic).bytes(&proof.identity);
                writer.number((*offers).into());
                writer.optional(proof.claim.as_ref(), |writer, claim| {
                    writer.bytes(claim);
                });
            }
            Self::Claim(claim) => {
                writer.array(2).number(kind::CLAIM).bytes(claim);
            }
            Self::Offer(offer) => offer.encode(&mut writer),
            Self::Pull(pull) => {
                writer.array(6).number(kind::PULL).number(pull.collection.0.into());
                writer.optional(pull.after.as_ref(), |writer, checkpoint| {
                    writer.checkpoint(checkpoint);
                });
                writer
                    .number(pull.pages.into())
                    .number(pull.documents_max.into())
                    .number(pull.bytes_max.into());
            }
            Self::More { collection } => {
                writer.array(2).number(kind::MORE).number(collection.0.into());
            }
            Self::Changes(changes) => return changes.encode(),
            Self::Update(update) => {
                writer.array(6).number(kind::UPDATE).number(update.collection.0.into());
                writer.optional(update.incarnation, |writer, incarnation| {
                    writer.number(incarnation.number());
                });
                writer.vector(&update.knowledge);
                origins(&mut writer, &update.connected);
                origins(&mut writer, &update.disconnected);
            }
            Self::Announce { collection, origins } => {
                writer.array(3).number(kind::ANNOUNCE).number(collection.0.into()).vector(origins);
            }
            Self::Graft { collection, origins: named } => {
                writer.array(3).number(kind::GRAFT).number(collection.0.into());
                origins(&mut writer, named);
            }
            Self::Prune { collection, origins: named } => {
                writer.array(3).number(kind::PRUNE).number(collection.0.into());
                origins(&mut writer, named);
            }
            Self::Ping => {
                writer.array(1).number(kind::PING);
            }
            Self::Pong => {
                writer.array(1).number(kind::PONG);
            }
            Self::Close(farewell) => farewell.encode(&mut writer),
        }
        writer.finish().into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let items = reader.array_of_at_least(1)?;
        let number = reader.number()?;
        let fields = |expected: usize| match items == expected {
            true => Ok(()),
            false => Err(DecodeError::ArrayLength { position: 0, found: items as u64 + 1 }),
        };
        let more = |expected: usize| {
            items
                .checked_sub(expected)
                .ok_or(DecodeError::ArrayLength { position: 0, found: items as u64 + 1 })
        };
        let message = match number {
            kind::HELLO => {
                let later = more(6)?;
                let hello = Self::Hello(Hello {
                    version_min: reader.number_u32()?,
                    version_max: reader.number_u32()?,
                    public_key: reader.bytes_of()?,
                    opening: Opening::new(reader.number()?),
                    nonce: reader.bytes_of()?,
                    message_bytes_max: reader.number_u32()?,
                    capabilities: match later {
                        0 => Capabilities::NONE,
                        _ => Capabilities::new(reader.number()?),
                    },
                });
                reader.skip(later.saturating_sub(1))?;
                hello
            }
            kind::PROOF => {
                fields(4)?;
                let (topic, identity) = (reader.bytes_of()?, reader.bytes_of()?);
                let offers = reader.number_u32()?;
                let claim = reader.optional(Reader::bytes_of)?;
                Self::Proof { proof: Proof { topic, identity, claim }, offers }
            }
            kind::CLAIM => {
                fields(1)?;
                Self::Claim(reader.bytes()?)
            }
            kind::OFFER => {
                let later = more(9)?;
                let offer = Self::Offer(Offer::decode(&mut reader)?);
                reader.skip(later)?;
                offer
            }
            kind::PULL => {
                fields(5)?;
                Self::Pull(Pull {
                    collection: collection(&mut reader)?,
                    after: reader.optional(Reader::checkpoint)?,
                    pages: reader.number_u32()?,
                    documents_max: reader.number_u32()?,
                    bytes_max: reader.number_u32()?,
                })
            }
            kind::MORE => {
                fields(1)?;
                Self::More { collection: collection(&mut reader)? }
            }
            kind::CHANGES => {
                fields(6)?;
                Self::Changes(Changes::decode(&mut reader)?)
            }
            kind::UPDATE => {
                fields(5)?;
                Self::Update(Update {
                    collection: collection(&mut reader)?,
                    incarnation: reader.optional(Reader::incarnation)?,
                    knowledge: reader.vector()?,
                    connected: incarnations(&mut reader)?,
                    disconnected: incarnations(&mut reader)?,
                })
            }
            kind::ANNOUNCE => {
                fields(2)?;
                Self::Announce { collection: collection(&mut reader)?, origins: reader.vector()? }
            }
            kind::GRAFT => {
                fields(2)?;
                Self::Graft { collection: collection(&mut reader)?, origins: incarnations(&mut reader)? }
            }
            kind::PRUNE => {
                fields(2)?;
                Self::Prune { collection: collection(&mut reader)?, origins: incarnations(&mut reader)? }
            }
            kind::PING => {
                fields(0)?;
                Self::Ping
            }
            kind::PONG => {
                fields(0)?;
                Self::Pong
            }
            kind::CLOSE => {
                let later = more(2)?;
                let farewell = Farewell::decode(&mut reader)?;
                reader.skip(later)?;
                Self::Close(farewell)
            }
            number => return Err(DecodeError::Number { what: "the kind of a message", number }),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl Offer {
    fn encode(&self, writer: &mut Writer) {
        writer.array(10).number(kind::OFFER).number(self.collection.0.into()).text(self.name.as_str());
        writer.number(self.schema_version.into()).text(&self.handler).number(self.incarnation.number());
        writer.flag(self.serves).flag(self.pulls);
        writer.optional(self.filter.as_deref(), |writer, filter| {
            writer.text(filter);
        });
        writer.vector(&self.knowledge);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            collection: collection(reader)?,
            name: CollectionName::new(reader.text()?)?,
            schema_version: reader.number_u32()?,
            handler: name(reader, "the length of a handler's id")?,
            incarnation: reader.incarnation()?,
            serves: reader.flag()?,
            pulls: reader.flag()?,
            filter: reader.optional(|reader| name(reader, "the length of a filter's name"))?,
            knowledge: reader.vector()?,
        })
    }
}

impl Changes {
    /// The incarnations of a page stand once at its head, and the documents name them by their place there: in
    /// a page of a thousand that saves 8 bytes per context entry.
    fn encode(&self) -> Bytes {
        let mut page = PageWriter::default();
        for (_, document) in &self.documents {
            page.note(document.context());
        }
        let bytes: usize =
            self.documents.iter().map(|(id, document)| id.as_bytes().len() + document.bytes() + 48).sum();
        let mut writer = Writer::with_capacity(bytes + 64);
        writer.array(7).number(kind::CHANGES).number(self.collection.0.into());
        origins(&mut writer, &page.incarnations);
        writer.array(2 * self.documents.len());
        for (id, document) in &self.documents {
            writer.text(id.as_str()).document(document, |incarnation| page.place(incarnation));
        }
        writer.optional(self.checkpoint.as_ref(), |writer, checkpoint| {
            writer.checkpoint(checkpoint);
        });
        writer.flag(self.complete).vector(&self.knowledge);
        writer.finish().into()
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let collection = collection(reader)?;
        let table = incarnations(reader)?;
        let named = |number: u64| {
            let place = usize::try_from(number).ok().and_then(|place| table.get(place).copied());
            place.ok_or(DecodeError::Number { what: "the place of an incarnation in its page", number })
        };
        let items = reader.array()?;
        if !items.is_multiple_of(2) {
            return Err(DecodeError::ArrayLength { position: 0, found: items as u64 });
        }
        // Not more at first than the rest of the message could hold.
        let mut documents = Vec::with_capacity((items / 2).min(reader.rest() / DOCUMENT_BYTES_MIN));
        for _ in 0..items / 2 {
            documents.push((reader.document_id()?, reader.document(named)?));
        }
        Ok(Self {
            collection,
            documents,
            checkpoint: reader.optional(Reader::checkpoint)?,
            complete: reader.flag()?,
            knowledge: reader.vector()?,
        })
    }

    /// An upper estimate of the encoded size of a document in a page.
    pub(crate) fn document_bytes(id: &DocumentId, document: &Document) -> usize {
        id.as_bytes().len()
            + document.bytes()
            + 26 * document.context().len()
            + 40 * document.heads().len()
            + 16
    }
}

/// The table of incarnations at the head of a page: sorted, so that version vectors stay sorted by place.
#[derive(Default)]
struct PageWriter {
    incarnations: Vec<Incarnation>,
}

impl PageWriter {
    fn note(&mut self, context: &Context) {
        for (incarnation, _) in context.iter() {
            if let Err(place) = self.incarnations.binary_search(&incarnation) {
                self.incarnations.insert(place, incarnation);
            }
        }
    }

    fn place(&self, incarnation: Incarnation) -> u64 {
        self.incarnations.binary_search(&incarnation).expect("every incarnation was noted") as u64
    }
}

impl Farewell {
    fn encode(&self, writer: &mut Writer) {
        let (code, detail) = match self {
            Self::Left => (0, ""),
            Self::Violation(detail) => (1, detail.as_str()),
            Self::Failed(detail) => (2, detail.as_str()),
            Self::Refused(refusal) => {
                let (code, why) = refusal.code();
                (16 + code, why)
            }
        };
        let cut = detail.floor_char_boundary(FAREWELL_TEXT_BYTES_MAX);
        writer.array(3).number(kind::CLOSE).number(code).text(&detail[..cut]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = reader.number()?;
        let text = reader.text()?;
        let detail = text[..text.floor_char_boundary(FAREWELL_TEXT_BYTES_MAX)].to_string();
        Ok(match code {
            0 => Self::Left,
            1 => Self::Violation(detail),
            2 => Self::Failed(detail),
            code => Self::Refused(match code.checked_sub(16) {
                Some(code) => Refusal::from_code(code, detail),
                None => Refusal::Other,
            }),
        })
    }
}

fn collection(reader: &mut Reader<'_>) -> Result<OfferIndex, DecodeError> {
    reader.number_u32().map(OfferIndex)
}

/// A name that is kept: the filter's is part of a key in the store.
fn name(reader: &mut Reader<'_>, what: &'static str) -> Result<String, DecodeError> {
    let text = reader.text()?;
    match text.len() {
        0..=NAME_BYTES_MAX => Ok(text.to_string()),
        bytes => Err(DecodeError::Number { what, number: bytes as u64 }),
    }
}

fn origins(writer: &mut Writer, incarnations: &[Incarnation]) {
    writer.array(incarnations.len());
    for incarnation in incarnations {
        writer.number(incarnation.number());
    }
}

/// Incarnations in ascending order, so that a table of them keeps the order of version vectors.
fn incarnations(reader: &mut Reader<'_>) -> Result<Vec<Incarnation>, DecodeError> {
    let items = reader.array()?;
    let incarnations = (0..items).map(|_| reader.incarnation()).collect::<Result<Vec<_>, _>>()?;
    if !incarnations.is_sorted_by(|left, right| left < right) {
        return Err(DecodeError::VectorOrder);
    }
    Ok(incarnations)
}
