//! Writing all documents down, in the form that `import` reads.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::PAGE_DOCUMENTS;
use crate::access::Access;
use crate::failure::Failure;
use crate::output::{Format, Output, Progress, write_line};

/// Prints all documents, or replaces a file by them once all are written.
pub(crate) async fn export(
    access: &mut Access,
    output: &mut Output,
    collection: Option<String>,
    prefix: String,
    file: Option<PathBuf>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(path) = file else {
        return pages(access, collection, prefix, stop, |line| output.line(line)).await.map(drop);
    };
    let failed = |source| Failure::File { path: path.clone(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(directory).map_err(failed)?;
    let mut out = BufWriter::new(file);
    let exported = pages(access, collection, prefix, stop, |line| write_line(&mut out, line).map_err(failed));
    let exported = exported.await?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    match output.format() {
        Format::Json => output.line(&serde_json::json!({ "exported": exported })),
        Format::Text => {
            eprintln!("{exported} documents exported");
            Ok(())
        }
    }
}

async fn pages(
    access: &mut Access,
    collection: Option<String>,
    prefix: String,
    stop: &CancellationToken,
    mut write: impl FnMut(&crate::document::Document) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let (mut progress, mut after) = (Progress::new(None), None);
    loop {
        if stop.is_cancelled() {
            return Err(Failure::Interrupted { done: "nothing was written in full".to_owned() });
        }
        let (documents, next) =
            access.list(collection.clone(), prefix.clone(), after, PAGE_DOCUMENTS).await?;
        for document in &documents {
            write(document)?;
        }
        progress.advance(documents.len() as u64, 0);
        match next {
            Some(next) => after = Some(next),
            None => return Ok(progress.documents()),
        }
    }
}
