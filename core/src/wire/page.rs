//! A page of documents as CBOR and back.
//!
//! The incarnations of a page stand once at its head, and the documents name them by their place there: in a page of
//! a thousand that saves 8 bytes per context entry.

use alloc::vec::Vec;

use bytes::Bytes;

use super::Changes;
use super::encoding::{Kind, collection, origins, write_origins};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::Document;
use crate::id::{DocumentId, Incarnation};
use crate::version_vector::Context;

/// The fewest bytes that a document takes in a page, with an id of one letter and an empty body.
const DOCUMENT_BYTES_MIN: usize = 13;

impl Changes {
    pub(super) fn encode(&self) -> Bytes {
        let mut page = PageWriter::default();
        for (_, document) in &self.documents {
            page.note(document.context());
        }
        let bytes: usize =
            self.documents.iter().map(|(id, document)| id.as_bytes().len() + document.bytes() + 48).sum();
        let mut writer = Writer::with_capacity(bytes + 64);
        writer.array(7).number(Kind::Changes.number()).number(self.collection.0.into());
        write_origins(&mut writer, &page.incarnations);
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

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let collection = collection(reader)?;
        let table = origins(reader)?;
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
