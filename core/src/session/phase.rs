//! From the first message until the peer is known: the phases of a session, and what leads from one to the next.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::{Admission, Capabilities, CloseReason, Effect, Event, Newcomer, Refusal, Session, Violation};
use crate::handshake::Transcript;
use crate::id::{Opening, ReplicaId};
use crate::time::Now;
use crate::wire::{CLAIM_BYTES_MAX, Hello, Message, PROTOCOL_VERSION};

/// How far a session has come.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Phase {
    Greeting,
    Proving {
        hello: Hello,
        hello_bytes: Bytes,
    },
    /// The peer has proven itself, and what it claims is to come.
    Claiming {
        remote: Remote,
        hello_bytes: Bytes,
        bound: [u8; 32],
    },
    /// The driver is asked. The peer may have admitted us, and offer its collections.
    Admitting {
        remote: Remote,
        since: Duration,
    },
    Open {
        peer: ReplicaId,
        message_bytes_max: u32,
        offers: u32,
    },
    Closed,
}

/// What the handshake has told of the peer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Remote {
    public_key: [u8; 32],
    opening: Opening,
    message_bytes_max: u32,
    capabilities: Capabilities,
    offers: u32,
}

impl Session {
    pub(super) fn greeted(&mut self, message: Message, hello_bytes: Bytes) -> Result<(), CloseReason> {
        let Message::Hello(hello) = message else {
            return Err(CloseReason::Violation(Violation::Unexpected(message.name())));
        };
        if hello.version_max < PROTOCOL_VERSION || hello.version_min > PROTOCOL_VERSION {
            return Err(CloseReason::Refused(Refusal::Version));
        }
        let same_key = hello.public_key == self.config.identity.public_key();
        if same_key && hello.opening == self.config.opening {
            return Err(CloseReason::Refused(Refusal::Itself));
        }
        let transcript = Transcript {
            prover: &self.own_hello,
            verifier: &hello_bytes,
            channel_binding: self.config.channel_binding.as_deref(),
        };
        let proof = transcript.prove(&self.config.topic_key, &self.config.identity, &self.config.claim);
        self.send(&Message::Proof { proof, offers: self.links.len() as u32 });
        self.phase = Phase::Proving { hello, hello_bytes };
        Ok(())
    }

    pub(super) fn proven(
        &mut self,
        now: Now,
        message: Message,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CloseReason> {
        let Message::Proof { proof, offers } = message else {
            return Err(CloseReason::Violation(Violation::Unexpected(message.name())));
        };
        let Phase::Proving { hello, hello_bytes } = core::mem::replace(&mut self.phase, Phase::Greeting)
        else {
            unreachable!("a proof is read while it is due")
        };
        let transcript = Transcript {
            prover: &hello_bytes,
            verifier: &self.own_hello,
            channel_binding: self.config.channel_binding.as_deref(),
        };
        if !transcript.proves_topic(&self.config.topic_key, &proof) {
            return Err(CloseReason::Refused(Refusal::TopicKey));
        }
        if !transcript.proves_identity(&hello.public_key, &proof) {
            return Err(CloseReason::Refused(Refusal::Identity));
        }
        // Only now, when it is proven: whoever merely names our key must not make us change it.
        if hello.public_key == self.config.identity.public_key() {
            let yields = self.config.opening < hello.opening;
            effects.push(Effect::Report(Event::SameIdentity { yields }));
            return Err(CloseReason::Refused(Refusal::SameIdentity));
        }
        self.tag = self.config.nonce.iter().zip(hello.nonce).map(|(ours, theirs)| ours ^ theirs).collect();
        let Hello { public_key, opening, message_bytes_max, capabilities, .. } = hello;
        let remote = Remote { public_key, opening, message_bytes_max, capabilities, offers };
        if !self.config.claim.is_empty() {
            let claim = self.config.claim.clone();
            self.send(&Message::Claim(claim));
        }
        match proof.claim {
            Some(bound) => self.phase = Phase::Claiming { remote, hello_bytes, bound },
            None => self.introduce(now, remote, Bytes::new(), effects),
        }
        Ok(())
    }

    pub(super) fn claimed(
        &mut self,
        now: Now,
        message: Message,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CloseReason> {
        let Message::Claim(claim) = message else {
            return Err(CloseReason::Violation(Violation::Unexpected(message.name())));
        };
        let Phase::Claiming { remote, hello_bytes, bound } = &self.phase else {
            unreachable!("a claim is read while it is due")
        };
        let transcript = Transcript {
            prover: hello_bytes,
            verifier: &self.own_hello,
            channel_binding: self.config.channel_binding.as_deref(),
        };
        let proven = transcript.proves_claim(&self.config.topic_key, bound, &claim);
        if !proven || claim.is_empty() || claim.len() > CLAIM_BYTES_MAX {
            return Err(CloseReason::Violation(Violation::Claim));
        }
        let remote = *remote;
        self.introduce(now, remote, claim, effects);
        Ok(())
    }

    /// Asks whether a peer that has proven itself is admitted, if that is asked.
    fn introduce(&mut self, now: Now, remote: Remote, claim: Bytes, effects: &mut Vec<Effect>) {
        self.phase = Phase::Admitting { remote, since: now.monotonic };
        match self.config.admission {
            Admission::Everybody => self.admitted(effects),
            Admission::Asked => {
                effects.push(Effect::Admit(Newcomer { public_key: remote.public_key, claim }));
            }
        }
    }

    pub(super) fn admitted(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Admitting { remote, .. } = self.phase else {
            panic!("a peer is admitted once it is asked for")
        };
        let Remote { public_key, opening, message_bytes_max, capabilities, offers } = remote;
        let peer = ReplicaId::of_public_key(&public_key);
        self.phase = Phase::Open { peer, message_bytes_max, offers };
        effects.push(Effect::Report(Event::Established { peer, opening, capabilities }));
        for index in 0..self.links.len() {
            let offer = self.links[index].offer();
            self.send(&Message::Offer(offer));
            self.match_waiting(index, effects);
        }
    }
}
