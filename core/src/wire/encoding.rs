//! Every message as CBOR and back.
//!
//! Each kind has a fixed number of items; to some of them later versions may append more, which are passed over.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Changes, Farewell, Hello, Message, NAME_BYTES_MAX, Offer, OfferIndex, Pull, Update};
use crate::codec::{DecodeError, Reader, Writer};
use crate::handshake::Proof;
use crate::id::{CollectionName, Incarnation, Opening};
use crate::session::{Capabilities, Refusal};

/// The most bytes of text in a Close; longer ones are cut.
const FAREWELL_TEXT_BYTES_MAX: usize = 512;

/// What a message is, and the number that says so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Hello = 0,
    Proof = 1,
    Offer = 2,
    Pull = 3,
    More = 4,
    Changes = 5,
    Update = 6,
    Announce = 7,
    Graft = 8,
    Prune = 9,
    Ping = 10,
    Pong = 11,
    Close = 12,
    Claim = 13,
}

/// How many items follow the kind.
enum Items {
    Exactly(usize),
    /// Later versions append more.
    AtLeast(usize),
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::Hello,
        Self::Proof,
        Self::Offer,
        Self::Pull,
        Self::More,
        Self::Changes,
        Self::Update,
        Self::Announce,
        Self::Graft,
        Self::Prune,
        Self::Ping,
        Self::Pong,
        Self::Close,
        Self::Claim,
    ];

    fn of(number: u64) -> Result<Self, DecodeError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.number() == number);
        kind.ok_or(DecodeError::Number { what: "the kind of a message", number })
    }

    pub(super) fn number(self) -> u64 {
        self as u64
    }

    fn items(self) -> Items {
        match self {
            Self::Hello => Items::AtLeast(6),
            Self::Offer => Items::AtLeast(9),
            Self::Close => Items::AtLeast(2),
            Self::Changes => Items::Exactly(6),
            Self::Pull | Self::Update => Items::Exactly(5),
            Self::Proof => Items::Exactly(4),
            Self::Announce | Self::Graft | Self::Prune => Items::Exactly(2),
            Self::More | Self::Claim => Items::Exactly(1),
            Self::Ping | Self::Pong => Items::Exactly(0),
        }
    }
}

impl Items {
    /// How many of the items that were found a later version appended.
    fn later(&self, found: usize) -> Result<usize, DecodeError> {
        let later = match self {
            Self::Exactly(items) => (found == *items).then_some(0),
            Self::AtLeast(items) => found.checked_sub(*items),
        };
        later.ok_or(DecodeError::ArrayLength { position: 0, found: found as u64 + 1 })
    }
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        match self {
            Self::Hello(hello) => hello.encode(&mut writer),
            Self::Proof { proof, offers } => {
                writer.array(5).number(Kind::Proof.number()).bytes(&proof.topic).bytes(&proof.identity);
                writer.number((*offers).into());
                writer.optional(proof.claim.as_ref(), |writer, claim| {
                    writer.bytes(claim);
                });
            }
            Self::Claim(claim) => {
                writer.array(2).number(Kind::Claim.number()).bytes(claim);
            }
            Self::Offer(offer) => offer.encode(&mut writer),
            Self::Pull(pull) => pull.encode(&mut writer),
            Self::More { collection } => {
                writer.array(2).number(Kind::More.number()).number(collection.0.into());
            }
            Self::Changes(changes) => return changes.encode(),
            Self::Update(update) => update.encode(&mut writer),
            Self::Announce { collection, origins } => {
                writer.array(3).number(Kind::Announce.number()).number(collection.0.into()).vector(origins);
            }
            Self::Graft { collection, origins } => {
                writer.array(3).number(Kind::Graft.number()).number(collection.0.into());
                write_origins(&mut writer, origins);
            }
            Self::Prune { collection, origins } => {
                writer.array(3).number(Kind::Prune.number()).number(collection.0.into());
                write_origins(&mut writer, origins);
            }
            Self::Ping => {
                writer.array(1).number(Kind::Ping.number());
            }
            Self::Pong => {
                writer.array(1).number(Kind::Pong.number());
            }
            Self::Close(farewell) => farewell.encode(&mut writer),
        }
        writer.finish().into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let items = reader.array_of_at_least(1)?;
        let kind = Kind::of(reader.number()?)?;
        let later = kind.items().later(items)?;
        let message = Self::decode_fields(kind, &mut reader, later)?;
        reader.finish()?;
        Ok(message)
    }

    fn decode_fields(kind: Kind, reader: &mut Reader<'_>, later: usize) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(Hello::decode(reader, later)?),
            Kind::Proof => {
                let (topic, identity) = (reader.bytes_of()?, reader.bytes_of()?);
                let offers = reader.number_u32()?;
                let claim = reader.optional(Reader::bytes_of)?;
                Self::Proof { proof: Proof { topic, identity, claim }, offers }
            }
            Kind::Claim => Self::Claim(reader.bytes()?),
            Kind::Offer => Self::Offer(Offer::decode(reader, later)?),
            Kind::Pull => Self::Pull(Pull::decode(reader)?),
            Kind::More => Self::More { collection: collection(reader)? },
            Kind::Changes => Self::Changes(Changes::decode(reader)?),
            Kind::Update => Self::Update(Update::decode(reader)?),
            Kind::Announce => Self::Announce { collection: collection(reader)?, origins: reader.vector()? },
            Kind::Graft => Self::Graft { collection: collection(reader)?, origins: origins(reader)? },
            Kind::Prune => Self::Prune { collection: collection(reader)?, origins: origins(reader)? },
            Kind::Ping => Self::Ping,
            Kind::Pong => Self::Pong,
            Kind::Close => Self::Close(Farewell::decode(reader, later)?),
        })
    }
}

impl Hello {
    fn encode(&self, writer: &mut Writer) {
        let says_more = self.capabilities != Capabilities::NONE;
        writer.array(7 + usize::from(says_more)).number(Kind::Hello.number());
        writer.number(self.version_min.into()).number(self.version_max.into());
        writer.bytes(&self.public_key).number(self.opening.number()).bytes(&self.nonce);
        writer.number(self.message_bytes_max.into());
        if says_more {
            writer.number(self.capabilities.number());
        }
    }

    fn decode(reader: &mut Reader<'_>, later: usize) -> Result<Self, DecodeError> {
        let hello = Self {
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
        };
        reader.skip(later.saturating_sub(1))?;
        Ok(hello)
    }
}

impl Offer {
    fn encode(&self, writer: &mut Writer) {
        writer
            .array(10)
            .number(Kind::Offer.number())
            .number(self.collection.0.into())
            .text(self.name.as_str());
        writer.number(self.schema_version.into()).text(&self.handler).number(self.incarnation.number());
        writer.flag(self.serves).flag(self.pulls);
        writer.optional(self.filter.as_deref(), |writer, filter| {
            writer.text(filter);
        });
        writer.vector(&self.knowledge);
    }

    fn decode(reader: &mut Reader<'_>, later: usize) -> Result<Self, DecodeError> {
        let offer = Self {
            collection: collection(reader)?,
            name: CollectionName::new(reader.text()?)?,
            schema_version: reader.number_u32()?,
            handler: name(reader, "the length of a handler's id")?,
            incarnation: reader.incarnation()?,
            serves: reader.flag()?,
            pulls: reader.flag()?,
            filter: reader.optional(|reader| name(reader, "the length of a filter's name"))?,
            knowledge: reader.vector()?,
        };
        reader.skip(later)?;
        Ok(offer)
    }
}

impl Pull {
    fn encode(&self, writer: &mut Writer) {
        writer.array(6).number(Kind::Pull.number()).number(self.collection.0.into());
        writer.optional(self.after.as_ref(), |writer, checkpoint| {
            writer.checkpoint(checkpoint);
        });
        writer.number(self.pages.into()).number(self.documents_max.into()).number(self.bytes_max.into());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            collection: collection(reader)?,
            after: reader.optional(Reader::checkpoint)?,
            pages: reader.number_u32()?,
            documents_max: reader.number_u32()?,
            bytes_max: reader.number_u32()?,
        })
    }
}

impl Update {
    fn encode(&self, writer: &mut Writer) {
        writer.array(6).number(Kind::Update.number()).number(self.collection.0.into());
        writer.optional(self.incarnation, |writer, incarnation| {
            writer.number(incarnation.number());
        });
        writer.vector(&self.knowledge);
        write_origins(writer, &self.connected);
        write_origins(writer, &self.disconnected);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            collection: collection(reader)?,
            incarnation: reader.optional(Reader::incarnation)?,
            knowledge: reader.vector()?,
            connected: origins(reader)?,
            disconnected: origins(reader)?,
        })
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
        writer.array(3).number(Kind::Close.number()).number(code).text(&detail[..cut]);
    }

    fn decode(reader: &mut Reader<'_>, later: usize) -> Result<Self, DecodeError> {
        let code = reader.number()?;
        let text = reader.text()?;
        reader.skip(later)?;
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

pub(super) fn collection(reader: &mut Reader<'_>) -> Result<OfferIndex, DecodeError> {
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

pub(super) fn write_origins(writer: &mut Writer, incarnations: &[Incarnation]) {
    writer.array(incarnations.len());
    for incarnation in incarnations {
        writer.number(incarnation.number());
    }
}

/// Incarnations in ascending order, so that a table of them keeps the order of version vectors.
pub(super) fn origins(reader: &mut Reader<'_>) -> Result<Vec<Incarnation>, DecodeError> {
    let items = reader.array()?;
    let incarnations = (0..items).map(|_| reader.incarnation()).collect::<Result<Vec<_>, _>>()?;
    if !incarnations.is_sorted_by(|left, right| left < right) {
        return Err(DecodeError::VectorOrder);
    }
    Ok(incarnations)
}
