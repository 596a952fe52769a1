//! Stories of two meshes and a server between them that delivers at once.

use std::collections::VecDeque;

use super::calls::ASK_EVERY;
use super::*;

/// A mesh as one peer sees the room, and what it was told to do.
struct Peer {
    mesh: Mesh,
    id: PeerId,
    dialed: Vec<CallId>,
    answered: Vec<CallId>,
    closed: Vec<CallId>,
    restarted: Vec<CallId>,
}

struct Room {
    peers: Vec<Peer>,
    now: Duration,
    options: Options,
    /// Signals are lost.
    deaf: bool,
}

impl Room {
    fn new(ids: &[&str]) -> Self {
        let options = Options::default();
        let peers = ids.iter().map(|id| Peer {
            mesh: Mesh::new(&options, Random::system()),
            id: PeerId::new(id),
            dialed: Vec::new(),
            answered: Vec::new(),
            closed: Vec::new(),
            restarted: Vec::new(),
        });
        Self { peers: peers.collect(), now: Duration::ZERO, options, deaf: false }
    }

    fn joined(ids: &[&str]) -> Self {
        let mut room = Self::new(ids);
        room.everybody_joins();
        room
    }

    fn everybody_joins(&mut self) {
        let ids: Vec<PeerId> = self.peers.iter().map(|peer| peer.id.clone()).collect();
        for peer in &mut self.peers {
            let others: Vec<PeerId> = ids.iter().filter(|id| **id != peer.id).cloned().collect();
            peer.mesh.joined(peer.id.clone(), &others, self.now);
        }
        self.settle();
    }

    fn server_restarts(&mut self, ids: &[&str]) {
        for (peer, id) in self.peers.iter_mut().zip(ids) {
            peer.mesh.lost(self.now);
            peer.id = PeerId::new(id);
        }
        self.everybody_joins();
    }

    /// Does what the meshes say until they say nothing more.
    fn settle(&mut self) {
        loop {
            let mut sent = VecDeque::new();
            for peer in &mut self.peers {
                peer.mesh.tick(self.now);
                for effect in peer.mesh.effects() {
                    match effect {
                        Effect::Dial(call) => {
                            peer.dialed.push(call);
                            peer.mesh.outgoing(call, Signal::Offer { sdp: String::new(), peerloom: None });
                        }
                        Effect::Answer { call, .. } => {
                            peer.answered.push(call);
                            peer.mesh.outgoing(call, Signal::Answer { sdp: String::new(), peerloom: None });
                        }
                        Effect::Restart(call) => peer.restarted.push(call),
                        Effect::Close(call) => peer.closed.push(call),
                        Effect::Deliver(..) => {}
                        Effect::Send { to, connection, signal } => {
                            sent.push_back((peer.id.clone(), to, connection, signal));
                        }
                    }
                }
            }
            let is_idle = sent.is_empty();
            for (from, to, connection, signal) in sent.into_iter().filter(|_| !self.deaf) {
                if let Some(receiver) = self.peers.iter_mut().find(|peer| peer.id == to) {
                    receiver.mesh.signal(&from, connection.as_ref(), signal, self.now);
                }
            }
            // An effect may have made another one without anything being sent.
            if is_idle && self.peers.iter().all(|peer| peer.mesh.effects.is_empty()) {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// The latest calls of the caller and of the called open. Returns the addresses that each sees.
    fn open(&mut self, caller: usize, called: usize) -> (PeerAddress, PeerAddress) {
        let now = self.now;
        let (dialed, answered) =
            (*self.peers[caller].dialed.last().unwrap(), *self.peers[called].answered.last().unwrap());
        let of_called = self.peers[caller].mesh.opened(dialed, now).expect("the attempt goes on");
        let of_caller = self.peers[called].mesh.opened(answered, now).expect("the attempt goes on");
        self.settle();
        (of_called, of_caller)
    }
}

#[test]
fn the_smaller_id_calls_and_the_other_answers() {
    let mut room = Room::joined(&["b", "a"]);
    assert_eq!((room.peers[0].dialed.len(), room.peers[0].answered.len()), (0, 1));
    assert_eq!((room.peers[1].dialed.len(), room.peers[1].answered.len()), (1, 0));
    assert_eq!(room.open(1, 0), (PeerAddress::new("b"), PeerAddress::new("a")));
}

#[test]
fn an_attempt_that_does_not_open_is_made_again_by_the_caller_after_doubling_waits() {
    let mut room = Room::joined(&["a", "b"]);
    room.deaf = true;
    let (timeout, step) = (room.options.attempt_timeout, Duration::from_millis(1));
    for longest in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
        let attempts = room.peers[0].dialed.len();
        room.pass(timeout);
        let failed_at = room.now;
        while room.peers[0].dialed.len() == attempts {
            room.pass(step);
        }
        let waited = room.now - failed_at;
        let longest = Duration::from_millis(longest);
        assert!(waited >= longest / 2 - step && waited <= longest + step, "{waited:?} of {longest:?}");
    }
    assert_eq!(room.peers[1].dialed.len(), 0);
}

#[test]
fn no_more_attempts_go_on_than_allowed() {
    let ids: Vec<String> = (0..100).map(|number| format!("peer-{number:03}")).collect();
    let mut room = Room::new(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    room.deaf = true;
    room.everybody_joins();
    let most = room.options.attempts_max.get() as usize;
    assert_eq!(room.peers[0].dialed.len(), most);
    let first = room.peers[0].dialed[0];
    room.peers[0].mesh.opened(first, room.now);
    room.settle();
    assert_eq!(room.peers[0].dialed.len(), most + 1, "one is open, another begins");
}

#[test]
fn connected_peers_recognize_each_other_after_the_server_has_restarted() {
    for ids in [["y", "z"], ["z", "y"]] {
        let mut room = Room::joined(&["a", "b"]);
        let (of_called, of_caller) = room.open(0, 1);
        room.server_restarts(&ids);
        assert!(room.peers.iter().all(|peer| peer.answered.len() <= 1), "nobody answers again");
        let (caller, called) = (room.peers[0].dialed[0], room.peers[1].answered[0]);
        assert_eq!(room.peers[0].mesh.line(&of_called), Some(caller));
        assert_eq!(room.peers[1].mesh.line(&of_caller), Some(called));
        assert!(!room.peers[0].closed.contains(&caller) && !room.peers[1].closed.contains(&called));

        // Each knows the other's new id: another way is asked for under it.
        room.peers[1].mesh.disturbed(called, room.now);
        room.settle();
        assert_eq!(room.peers[0].restarted, [caller], "{ids:?}");

        // And the address stays when the connection has to be made again.
        let now = room.now;
        room.peers[0].mesh.ended(caller, now);
        room.peers[1].mesh.ended(called, now);
        room.peers[0].mesh.redial(&of_called, now);
        room.peers[1].mesh.redial(&of_caller, now);
        room.settle();
        let (caller, called) = if ids[0] < ids[1] { (0, 1) } else { (1, 0) };
        let opened = room.open(caller, called);
        let expected = if caller == 0 { (of_called, of_caller) } else { (of_caller, of_called) };
        assert_eq!(opened, expected);
    }
}

#[test]
fn who_moves_keeps_the_connection_though_the_server_still_lists_the_former_id() {
    // The one who moves was called or called, and will be the larger or the smaller one.
    for (ids, new_id) in [(["b", "c"], "d"), (["b", "a"], "d"), (["b", "c"], "a"), (["b", "a"], "0")] {
        let mut room = Room::joined(&ids);
        let (caller, called) = if ids[0] < ids[1] { (0, 1) } else { (1, 0) };
        room.open(caller, called);
        let line = room.peers[caller].dialed[0];
        room.deaf = true;
        room.peers[1].mesh.network_changed(room.now);
        room.settle();
        room.pass(2 * ASK_EVERY);
        room.peers[caller].restarted.clear();

        room.deaf = false;
        let (now, new) = (room.now, PeerId::new(new_id));
        let [stays, moves] = &mut room.peers[..] else { panic!("there are two") };
        moves.mesh.lost(now);
        moves.id = new.clone();
        moves.mesh.joined(new.clone(), &[PeerId::new(ids[0]), PeerId::new(ids[1])], now);
        stays.mesh.peer_joined(&new, now);
        room.settle();
        assert!(room.peers[caller].restarted.contains(&line), "another way is looked for, {ids:?} {new_id}");
        for peer in &room.peers {
            assert!(peer.answered.len() <= 1, "nobody answers again, {ids:?} {new_id}");
        }
        assert!(!room.peers[caller].closed.contains(&line));
        // The former id goes at last, and takes nothing with it.
        let stays = &mut room.peers[0].mesh;
        stays.peer_left(&PeerId::new(ids[1]), now);
        assert!(stays.line(&PeerAddress::new(ids[1])).is_some());
        let moves = &mut room.peers[1].mesh;
        let of_stays = moves.line(&PeerAddress::new(ids[0])).expect("it lives on");
        moves.disturbed(of_stays, now);
        room.settle();
        room.pass(2 * ASK_EVERY);
        assert!(room.peers[caller].restarted.len() >= 2, "it can be asked for again, {ids:?} {new_id}");
    }
}

#[test]
fn who_has_lost_the_connection_that_the_other_still_has_says_so_and_is_answered() {
    for ids in [["y", "z"], ["z", "y"]] {
        let mut room = Room::joined(&["a", "b"]);
        let (_, of_caller) = room.open(0, 1);
        let (lost, kept) = (room.peers[0].dialed[0], room.peers[1].answered[0]);
        room.peers[0].mesh.ended(lost, room.now);
        room.server_restarts(&ids);
        let (caller, called) = if ids[0] < ids[1] { (0, 1) } else { (1, 0) };
        room.open(caller, called);
        if caller == 0 {
            assert!(room.peers[1].closed.contains(&kept), "when two come up, one goes");
            assert_ne!(room.peers[1].mesh.line(&of_caller), Some(kept));
        }
    }
}

#[test]
fn nobody_takes_the_connection_of_another_by_claiming_to_be_it() {
    let mut room = Room::joined(&["a", "c"]);
    let (_, of_caller) = room.open(0, 1);
    let line = room.peers[1].answered[0];
    let now = room.now;
    // The true one has lost the server, and "b" claims to be it.
    let called = &mut room.peers[1];
    called.mesh.peer_left(&PeerId::new("a"), now);
    called.mesh.peer_joined(&PeerId::new("b"), now);
    let claim = Claim { member: PeerId::new("a"), replaces: None };
    let connection = ConnectionId::new("guessed");
    let offer = Signal::Offer { sdp: String::new(), peerloom: Some(claim) };
    called.mesh.signal(&PeerId::new("b"), Some(&connection), offer, now);
    let effects = called.mesh.effects();
    assert!(matches!(&effects[..], [Effect::Send { signal: Signal::Connected { .. }, .. }]), "{effects:?}");
    assert_eq!(called.mesh.line(&of_caller), Some(line));
}

#[test]
fn an_open_connection_is_not_redialed_and_a_stranger_is_not_called() {
    let mut room = Room::joined(&["a", "b"]);
    let (of_called, _) = room.open(0, 1);
    let now = room.now;
    room.peers[0].mesh.redial(&of_called, now);
    room.peers[0].mesh.redial(&PeerAddress::new("nobody"), now);
    room.settle();
    assert_eq!(room.peers[0].dialed.len(), 1);
}

#[test]
fn a_silent_connection_asks_for_another_way_until_it_is_heard() {
    let mut room = Room::joined(&["a", "b"]);
    room.open(0, 1);
    let (caller, now) = (room.peers[0].dialed[0], room.now);
    room.peers[0].mesh.disturbed(caller, now);
    room.settle();
    room.pass(ASK_EVERY);
    room.pass(ASK_EVERY);
    assert_eq!(room.peers[0].restarted.len(), 3);
    room.peers[0].mesh.steady(caller);
    room.pass(ASK_EVERY);
    room.pass(ASK_EVERY);
    assert_eq!(room.peers[0].restarted.len(), 3);
}

#[test]
fn a_change_of_network_asks_for_another_way_once() {
    let mut room = Room::joined(&["a", "b"]);
    room.open(0, 1);
    let now = room.now;
    for peer in &mut room.peers {
        peer.mesh.network_changed(now);
    }
    room.settle();
    for _ in 0..5 {
        room.pass(ASK_EVERY);
    }
    // Once for its own reason, once because the other side asked.
    assert_eq!(room.peers[0].restarted.len(), 2);
}

#[test]
fn a_stock_peer_is_answered_with_and_without_a_connection_id() {
    for connection in [None, Some(ConnectionId::new("juomzwdtcd"))] {
        let mut room = Room::joined(&["b"]);
        let (peer, now) = (PeerId::new("a"), room.now);
        let mesh = &mut room.peers[0].mesh;
        mesh.peer_joined(&peer, now);
        let offer = Signal::Offer { sdp: String::new(), peerloom: None };
        mesh.signal(&peer, connection.as_ref(), offer.clone(), now);
        let Effect::Answer { call, dialect, .. } = mesh.effects().remove(0) else { panic!("it is answered") };
        assert_eq!(dialect, Dialect::Other);
        assert_eq!(mesh.opened(call, now), Some(PeerAddress::new("a")));
        // The same connection again is another way for it.
        mesh.signal(&peer, connection.as_ref(), offer, now);
        assert!(matches!(mesh.effects()[..], [Effect::Deliver(delivered, _)] if delivered == call));
    }
}
