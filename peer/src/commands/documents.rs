//! One document, or a list of them.

use std::io::Read;

use bytes::Bytes;
use peerloom::json;
use serde_json::Value;

use super::PAGE_DOCUMENTS;
use crate::access::Access;
use crate::control::InConflict;
use crate::document::{Document, DocumentContent};
use crate::failure::Failure;
use crate::output::{Format, Output};

/// Writes a document, from the value or else from standard input.
pub(crate) async fn put(
    access: &mut Access,
    collection: Option<String>,
    id: String,
    value: Option<String>,
    binary: bool,
) -> Result<(), Failure> {
    let value = match value {
        Some(value) => Bytes::from(value),
        None => {
            let mut input = Vec::new();
            std::io::stdin().lock().read_to_end(&mut input).map_err(Failure::System)?;
            input.into()
        }
    };
    let content = match binary {
        true => DocumentContent::Base64(value),
        false => DocumentContent::Value(parse(&value)?),
    };
    access.put(collection, vec![Document { id, content }]).await
}

fn parse(value: &[u8]) -> Result<Value, Failure> {
    json::parse(value).map_err(|error| Failure::Value(format!("the value is not JSON: {error}")))
}

/// Prints a document.
pub(crate) async fn get(
    access: &mut Access,
    output: &mut Output,
    collection: Option<String>,
    id: String,
) -> Result<(), Failure> {
    let content = access.get(collection, id.clone()).await?;
    match (content, output.format()) {
        (DocumentContent::Deleted(_), _) => Err(Failure::NotFound { id }),
        (DocumentContent::Base64(bytes), Format::Text) => output.bytes(&bytes),
        (content, _) => {
            let document = Document { id, content };
            output.print(&document, || document.content.to_string())
        }
    }
}

/// Deletes a document.
pub(crate) async fn delete(
    access: &mut Access,
    collection: Option<String>,
    id: String,
) -> Result<(), Failure> {
    match access.delete(collection, id.clone()).await? {
        true => Ok(()),
        false => Err(Failure::NotFound { id }),
    }
}

/// Which documents to list, and what of them.
pub(crate) struct Listing {
    pub(crate) prefix: String,
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) ids: bool,
}

/// Prints documents in the order of their ids.
pub(crate) async fn list(
    access: &mut Access,
    output: &mut Output,
    collection: Option<String>,
    listing: Listing,
) -> Result<(), Failure> {
    let Listing { prefix, mut after, limit, ids } = listing;
    let mut left = limit.unwrap_or(usize::MAX);
    while left > 0 {
        let documents_max = PAGE_DOCUMENTS.min(left.try_into().unwrap_or(u32::MAX));
        let (documents, next) = access.list(collection.clone(), prefix.clone(), after, documents_max).await?;
        left -= documents.len();
        for document in documents {
            match ids {
                true => output.print(&serde_json::json!({ "id": document.id }), || document.id.clone())?,
                false => output.print(&document, || format!("{}\t{}", document.id, document.content))?,
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// Prints the documents in conflict with all their versions.
pub(crate) async fn conflicts(
    access: &mut Access,
    output: &mut Output,
    collection: Option<String>,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let (conflicts, next) = access.conflicts(collection.clone(), after, PAGE_DOCUMENTS).await?;
        for conflict in conflicts {
            output.print(&conflict, || text(&conflict))?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn text(conflict: &InConflict) -> String {
    let mut text = conflict.id.clone();
    for version in &conflict.versions {
        let shown = if version.content == conflict.view { "  <- what reading gives" } else { "" };
        text.push_str(&format!("\n   {}{shown}", version.content));
    }
    if conflict.versions.iter().all(|version| version.content != conflict.view) {
        text.push_str(&format!("\n   reading gives {}", conflict.view));
    }
    text
}
