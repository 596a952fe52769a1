//! Traces made by hand: a room in which the test says who does what, so that it knows what a report must show.

use std::collections::BTreeMap;

use peerloom_sim::plan::{Crash, Fault, FaultKind, Latency, PeerNumber, PeerPlan, Round, Topology};
use peerloom_sim::trace::{Committed, Event, MessageNumber, Phase, What, WriteName};
use peerloom_sim::{Figures, Plan, Report, Trace, Violation};

/// A room whose events are told one after the other.
pub(crate) struct Room {
    plan: Plan,
    events: Vec<Event>,
    at_us: u64,
    /// Per message: sender, receiver.
    messages: Vec<(u16, u16)>,
    operations: u32,
    documents: BTreeMap<(u16, String), Committed>,
    versions: BTreeMap<(String, Vec<WriteName>), u64>,
}

impl Room {
    /// A room in which so many peers have started.
    pub(crate) fn of(peers: u16) -> Self {
        let plan = Plan {
            seed: 17,
            peers: vec![PeerPlan { joins_ms: Some(0), clock_ahead_ms: 0 }; usize::from(peers)],
            topology: Topology::Mesh,
            latency: Latency { base_ms: 20, jitter_ms: 0 },
            handler_panics_one_in: None,
            rounds: vec![Round::default()],
        };
        let (events, messages) = (Vec::new(), Vec::new());
        let (documents, versions) = (BTreeMap::new(), BTreeMap::new());
        let mut room = Self { plan, events, at_us: 0, messages, operations: 0, documents, versions };
        room.tell(None, What::Phase(Phase::Chaos { round: 0 }));
        for peer in 0..peers {
            room.tell(Some(peer), What::Started);
        }
        room
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.at_us += ms * 1_000;
    }

    /// Adds an event and returns its index.
    pub(crate) fn tell(&mut self, peer: Option<u16>, what: What) -> usize {
        self.events.push(Event { at_us: self.at_us, peer: peer.map(PeerNumber), what });
        self.events.len() - 1
    }

    /// A user writes a document. Returns the index of the commit.
    pub(crate) fn write(&mut self, peer: u16, document: &str, view: &str) -> usize {
        self.operations += 1;
        let operation = self.operations;
        self.tell(Some(peer), What::Called { operation, says: format!("put {document}") });
        self.later(2);
        let (document, incarnation) = (document.to_owned(), format!("{:016x}", 0xa0 + u64::from(peer)));
        let write = WriteName { document: document.clone(), incarnation, stamp: self.at_us };
        let commit = self.commit(peer, &document, vec![write.clone()], view);
        self.later(1);
        self.tell(Some(peer), What::Acknowledged { operation, writes: vec![write] });
        commit
    }

    /// A peer commits a document with these heads. Returns the index of the event.
    pub(crate) fn commit(&mut self, peer: u16, document: &str, heads: Vec<WriteName>, view: &str) -> usize {
        let next = self.versions.len() as u64 + 100;
        let version = *self.versions.entry((document.to_owned(), heads.clone())).or_insert(next);
        let view = Some(view.to_owned());
        let committed = Committed { document: document.to_owned(), heads, view, version };
        self.documents.insert((peer, document.to_owned()), committed.clone());
        self.tell(Some(peer), What::Committed { documents: vec![committed] })
    }

    /// A peer commits a document as another peer has it. Returns the index of the event.
    pub(crate) fn adopt(&mut self, peer: u16, document: &str, from: u16) -> usize {
        let committed = self.documents[&(from, document.to_owned())].clone();
        let view = committed.view.expect("what these rooms write is never deleted");
        self.commit(peer, document, committed.heads, &view)
    }

    /// The heads of a document at a peer.
    pub(crate) fn heads(&self, peer: u16, document: &str) -> Vec<WriteName> {
        self.documents[&(peer, document.to_owned())].heads.clone()
    }

    pub(crate) fn send(&mut self, from: u16, to: u16, says: &str, abnormal: &str) -> MessageNumber {
        let message = MessageNumber(self.messages.len() as u64);
        self.messages.push((from, to));
        let (says, abnormal) = (says.to_owned(), abnormal.to_owned());
        let to = PeerNumber(to);
        self.tell(Some(from), What::Sent { message, to, bytes: 120, says, abnormal });
        message
    }

    /// A message arrives. Returns the index of the event.
    pub(crate) fn arrive(&mut self, message: MessageNumber) -> usize {
        let (from, to) = self.messages[usize::try_from(message.0).expect("a test sends few messages")];
        self.tell(Some(to), What::Delivered { message, from: PeerNumber(from) })
    }

    /// A document goes from one peer to another, who commits it.
    pub(crate) fn pass(&mut self, from: u16, to: u16, document: &str) {
        let message = self.send(from, to, &format!("changes: {document}"), "");
        self.later(20);
        self.arrive(message);
        self.later(1);
        self.adopt(to, document, from);
        self.later(1);
    }

    /// Something that has nothing to do with any document.
    pub(crate) fn keep_alive(&mut self, from: u16, to: u16) {
        let message = self.send(from, to, "keep-alive", "");
        self.later(20);
        self.arrive(message);
    }

    pub(crate) fn begin_fault(&mut self, fault: u32, says: &str, peers: &[u16], kind: FaultKind) -> usize {
        self.plan.rounds[0].faults.push(Fault { number: fault, at_ms: self.at_us / 1_000, for_ms: 1, kind });
        let peers = peers.iter().copied().map(PeerNumber).collect();
        self.tell(None, What::FaultBegan { fault, says: says.to_owned(), peers })
    }

    pub(crate) fn end_fault(&mut self, fault: u32) {
        self.tell(None, What::FaultEnded { fault });
    }

    /// The trace so far.
    pub(crate) fn trace(&self) -> Trace {
        Trace { events: self.events.clone() }
    }

    /// Ends with a violation.
    pub(crate) fn violated(
        mut self,
        check: &str,
        says: &str,
        peer: Option<u16>,
        document: Option<&str>,
    ) -> Report {
        let (check, says) = (check.to_owned(), says.to_owned());
        let (peer, document) = (peer.map(PeerNumber), document.map(str::to_owned));
        let violation = Violation { check, says, peer, document };
        self.tell(peer.map(|peer| peer.0), What::Violated(violation.clone()));
        Report { violation: Some(violation), ..self.held() }
    }

    /// Ends well.
    pub(crate) fn held(self) -> Report {
        let sent = self.messages.len() as u64;
        let figures = Figures {
            simulated_ms: self.at_us / 1_000,
            acknowledged: u64::from(self.operations),
            messages: sent,
            bytes: sent * 120,
            bytes_ideal: 600,
            ..Figures::default()
        };
        Report {
            scenario: "todos".to_owned(),
            plan: self.plan,
            trace: Trace { events: self.events },
            violation: None,
            figures,
            replay: "cargo run -p todos -- replay 17.json".to_owned(),
        }
    }
}

/// Three peers who pass two versions around for ever, each believing the one it hears last.
pub(crate) fn loop_in_a_triangle() -> Report {
    let mut room = Room::of(3);
    room.later(100);
    room.write(0, "note", r#"{"title":"from the first","done":false}"#);
    room.write(1, "note", r#"{"title":"from the second","done":true}"#);
    room.pass(0, 2, "note");
    room.later(4_000);
    for _ in 0..3 {
        let turn = [(0, 1), (1, 2), (2, 0)].map(|(from, to)| {
            let said = room.documents[&(from, "note".to_owned())].clone();
            (room.send(from, to, "changes: note", ""), to, said)
        });
        for (message, to, said) in turn {
            room.later(20);
            room.arrive(message);
            room.later(1);
            room.commit(to, "note", said.heads, said.view.as_deref().expect("it is not deleted"));
        }
        room.later(300);
    }
    room.keep_alive(0, 2);
    room.violated("settles", "still talking after 60 s: note went around 3 times", None, Some("note"))
}

/// Two sides of a partition write the same document; after it, what would have joined them is lost.
pub(crate) fn divergence_after_a_partition() -> Report {
    let mut room = Room::of(3);
    room.later(50);
    room.write(0, "note", r#"{"title":"groceries","items":["milk","bread"],"owner":"ana"}"#);
    room.pass(0, 1, "note");
    room.pass(0, 2, "note");
    room.write(0, "other", r#"{"n":1}"#);
    room.pass(0, 1, "other");
    room.later(3_000);
    let pairs = vec![(PeerNumber(0), PeerNumber(2)), (PeerNumber(1), PeerNumber(2))];
    room.begin_fault(1, "peer-2 is cut off from peer-0 and peer-1", &[0, 1, 2], FaultKind::Cut { pairs });
    room.later(300);
    room.write(2, "note", r#"{"title":"groceries","items":["milk","eggs"],"owner":"ana"}"#);
    room.later(100);
    room.write(0, "note", r#"{"title":"groceries","items":["milk","bread","jam"],"owner":"ben"}"#);
    room.pass(0, 1, "note");
    room.later(8_000);
    room.end_fault(1);
    room.tell(None, What::Phase(Phase::Healing));
    room.later(40);
    room.keep_alive(1, 0);
    room.send(2, 0, "changes: note", "lost");
    room.send(2, 1, "changes: note", "delayed by 300 ms");
    let late = MessageNumber(room.messages.len() as u64 - 1);
    room.later(300);
    room.arrive(late);
    let mut heads = room.heads(1, "note");
    heads.extend(room.heads(2, "note"));
    room.commit(1, "note", heads, r#"{"title":"groceries","items":["milk","bread","jam"],"owner":"ben"}"#);
    room.later(10_000);
    room.violated("converged", "peer-0, peer-1 and peer-2 hold three states of note", None, Some("note"))
}

/// A peer loses power between receiving a document and committing it, and stays without.
pub(crate) fn crash_in_the_middle() -> Report {
    let mut room = Room::of(3);
    room.later(50);
    room.write(0, "note", r#"{"n":1}"#);
    let message = room.send(0, 1, "changes: note", "");
    room.later(20);
    room.arrive(message);
    let kind = FaultKind::Crash { peer: PeerNumber(1), manner: Crash::PowerCut };
    room.begin_fault(4, "peer-1 loses power", &[1], kind);
    room.tell(Some(1), What::Crashed { manner: Crash::PowerCut });
    room.later(2_500);
    room.tell(Some(1), What::Started);
    room.end_fault(4);
    room.pass(0, 2, "note");
    room.tell(Some(2), What::Paused);
    room.later(700);
    room.tell(Some(2), What::Resumed);
    room.violated("converged", "peer-1 has no note", None, Some("note"))
}

/// Everybody talks all the time; most of it has nothing to do with the document that goes wrong.
pub(crate) fn busy(peers: u16, events: usize) -> Report {
    let mut room = Room::of(peers);
    let mut draw = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |limit: u64| {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        draw % limit
    };
    let mut fault = 0;
    while room.events.len() < events {
        let peer = u16::try_from(below(u64::from(peers))).expect("there are few peers");
        let other = (peer + 1 + u16::try_from(below(u64::from(peers) - 1)).expect("few")) % peers;
        let document = if below(9) == 0 { "note".to_owned() } else { format!("todo-{}", below(40)) };
        match below(12) {
            0..3 => drop(room.write(peer, &document, &format!(r#"{{"n":{},"by":{peer}}}"#, below(1_000)))),
            3..9 if room.documents.contains_key(&(peer, document.clone())) => {
                room.pass(peer, other, &document);
            }
            9 if fault % 2 == 0 => {
                fault += 1;
                let kind = FaultKind::Hold { directions: Vec::new() };
                room.begin_fault(fault, "messages wait", &[peer, other], kind);
            }
            10 if fault % 2 == 1 && below(3) == 0 => {
                room.end_fault(fault);
                fault += 1;
            }
            11 if below(6) == 0 => {
                room.tell(Some(peer), What::Crashed { manner: Crash::Kill });
                room.later(400);
                room.tell(Some(peer), What::Started);
            }
            _ => room.keep_alive(peer, other),
        }
        room.later(below(60));
    }
    room.violated("converged", "peers hold different states of note", None, Some("note"))
}

/// Whatever a stranger can put into a document, its id or a message.
pub(crate) fn hostile() -> Report {
    let mut room = Room::of(2);
    let view = "{\"a\":\"</script><script>document.title='owned'</script>\",\"b\":\"<!--<script>\"}";
    room.write(0, HOSTILE_ID, view);
    room.pass(0, 1, HOSTILE_ID);
    room.send(1, 0, "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}{{data}} &amp; \u{0}\u{ffff}", "\u{1b}[31m<b>");
    let mut report = room.violated(
        "<img src=x onerror=alert(1)>",
        "]]> \u{9b}2J \u{85} \"'</title>",
        None,
        Some(HOSTILE_ID),
    );
    report.scenario = "</title><script>document.title='owned'</script>{{program}}".to_owned();
    report.replay = "replay '</code><script>'".to_owned();
    report
}

pub(crate) const HOSTILE_ID: &str = "</script><svg onload=alert(1)>\u{1b}[31m";
