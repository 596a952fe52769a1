//! Writing the documents of a file, in large commits.

use std::path::Path;

use peerloom::{DocumentId, json};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::arguments::Import;
use crate::document::{Document, DocumentContent};
use crate::failure::Failure;
use crate::lines::{LINE_BYTES_MAX, Line, Lines};
use crate::output::{Format, Output, Progress};

/// The most documents of one commit.
const BATCH_DOCUMENTS_MAX: usize = 1000;

/// A commit is made once its lines have this many bytes.
const BATCH_BYTES: u64 = 1 << 20;

/// What was read and is not yet written.
#[derive(Default)]
struct Batch {
    documents: Vec<Document>,
    bytes: u64,
}

/// Writes the documents of a file, and tells how many.
pub(crate) async fn import(
    access: &mut Access,
    output: &mut Output,
    arguments: Import,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: arguments.file.clone(), source };
    let (source, bytes): (Box<dyn AsyncRead + Send + Unpin>, Option<u64>) =
        if arguments.file == Path::new("-") {
            (Box::new(tokio::io::stdin()), None)
        } else {
            let file = File::open(&arguments.file).await.map_err(failed)?;
            let metadata = file.metadata().await.map_err(failed)?;
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, source));
    let (mut progress, mut batch, mut skipped) = (Progress::new(bytes), Batch::default(), 0_u64);
    let collection = &arguments.of.collection;
    loop {
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => {
                write(access, collection, &mut batch, &mut progress).await?;
                let done = format!("{} documents are imported", progress.documents());
                return Err(Failure::Interrupted { done });
            }
            line = lines.next() => line.map_err(failed)?,
        };
        let (read, bytes) = match line {
            None => break,
            Some(Line::TooLong) => (Err(format!("it has more than {LINE_BYTES_MAX} bytes")), 0),
            Some(Line::Whole(line)) if line.trim_ascii().is_empty() => continue,
            Some(Line::Whole(line)) => (parse(line, arguments.id_field.as_deref()), line.len() as u64 + 1),
        };
        let line = lines.number();
        if line < arguments.from_line {
            progress.advance(0, bytes);
            continue;
        }
        batch.bytes += bytes;
        match read {
            Ok(document) => batch.documents.push(document),
            Err(message) if arguments.skip_invalid => {
                progress.say(&format!("line {line} is left out: {message}"));
                skipped += 1;
            }
            Err(message) => {
                write(access, collection, &mut batch, &mut progress).await?;
                return Err(Failure::InvalidLine { line, message, before: progress.documents() });
            }
        }
        if batch.documents.len() >= BATCH_DOCUMENTS_MAX || batch.bytes >= BATCH_BYTES {
            write(access, collection, &mut batch, &mut progress).await?;
        }
    }
    write(access, collection, &mut batch, &mut progress).await?;
    let imported = progress.documents();
    drop(progress);
    match output.format() {
        Format::Json => output.line(&serde_json::json!({ "imported": imported, "skipped": skipped })),
        Format::Text if skipped > 0 => {
            eprintln!("{imported} documents imported, {skipped} lines left out");
            Ok(())
        }
        Format::Text => {
            eprintln!("{imported} documents imported");
            Ok(())
        }
    }
}

async fn write(
    access: &mut Access,
    collection: &Option<String>,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let Batch { documents, bytes } = std::mem::take(batch);
    let count = documents.len() as u64;
    if count > 0 {
        access.put(collection.clone(), documents).await?;
    }
    progress.advance(count, bytes);
    Ok(())
}

/// The document of a line, or what is wrong with it.
fn parse(line: &[u8], id_field: Option<&str>) -> Result<Document, String> {
    let value = json::parse(line).map_err(|error| error.to_string())?;
    let document = match id_field {
        None => from_line(value)?,
        Some(field) => match value.get(field) {
            Some(Value::String(id)) => Document { id: id.clone(), content: DocumentContent::Value(value) },
            Some(_) => return Err(format!("the field {field:?} is not a string")),
            None => return Err(format!("there is no field {field:?}")),
        },
    };
    // Here and not by the peer, which would refuse the whole batch.
    DocumentId::new(document.id.as_str()).map_err(|error| error.to_string())?;
    Ok(document)
}

fn from_line(value: Value) -> Result<Document, String> {
    if let Some(fields) = value.as_object() {
        let known = ["id", "value", "base64", "deleted", "in_conflict"];
        if let Some(unknown) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(format!(
                "a document has an `id` and a `value`, not a {unknown:?} (or say which field is the id, with --id-field)"
            ));
        }
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
