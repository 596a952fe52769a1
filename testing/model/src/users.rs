//! What users write, and the conflict handler they run.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_core::{ConflictHandler, Dot, Head, Resolver, State};

use crate::writes::WriteName;

/// What one write puts in a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    /// Whether it deletes the document.
    pub deleted: bool,
    /// The body.
    pub body: Bytes,
}

/// The users of a room.
#[derive(Clone)]
pub struct Users {
    handler: Arc<dyn ConflictHandler>,
    /// The first writes of all replicas, then the second ones. Where there are none left they are taken from the start.
    contents: Arc<[Content]>,
}

impl Users {
    /// Users that run this handler and write this. A handler that panics ends the search with a finding.
    pub fn new(handler: Arc<dyn ConflictHandler>, contents: Vec<Content>) -> Self {
        Self { handler, contents: contents.into() }
    }

    pub(crate) fn content(&self, name: WriteName) -> Content {
        match self.contents.len() {
            0 => Content { deleted: false, body: name.to_string().into() },
            count => self.contents[name.index() % count].clone(),
        }
    }

    /// The id of their handler.
    pub(crate) fn handler(&self) -> &str {
        self.handler.id()
    }
}

/// They write the names of their writes, and show them all.
impl Default for Users {
    fn default() -> Self {
        Self::new(Arc::new(Append), Vec::new())
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Users")
            .field("handler", &self.handler.id())
            .field("contents", &self.contents)
            .finish()
    }
}

impl Resolver for Users {
    fn resolve(&mut self, heads: &[Head]) -> Option<State> {
        Some(self.handler.resolve(heads))
    }

    fn annotate(&mut self, seen: Option<&State>, next: &State, dot: Dot) -> Option<Bytes> {
        Some(self.handler.annotate(seen, next, dot))
    }
}

/// Joins all versions into one text. Neither associative nor idempotent, so a replica that merged views would differ.
#[derive(Clone, Copy, Debug)]
struct Append;

impl ConflictHandler for Append {
    fn id(&self) -> &str {
        "append"
    }

    fn resolve(&self, heads: &[Head]) -> State {
        let bodies: Vec<&[u8]> = heads.iter().map(|head| head.state.body.as_ref()).collect();
        State { deleted: false, body: bodies.join(&b'+').into(), annotations: Bytes::new() }
    }

    fn annotate(&self, _seen: Option<&State>, _next: &State, _dot: Dot) -> Bytes {
        Bytes::new()
    }
}
