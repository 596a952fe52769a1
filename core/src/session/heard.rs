//! What the peer says, and what follows from it. Whatever breaks the rules ends the session.

use alloc::vec::Vec;

use bytes::Bytes;

use super::link::Link;
use super::phase::Phase;
use super::{CloseReason, Effect, Session, Violation};
use crate::time::Now;
use crate::wire::{Farewell, HANDSHAKE_MESSAGE_BYTES_MAX, Message, Offer, OfferIndex};

impl Session {
    pub(super) fn received(
        &mut self,
        now: Now,
        frame: &Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CloseReason> {
        self.heard_at = now.monotonic;
        self.counters.bytes_received += frame.len() as u64;
        let broken = |violation: Violation| CloseReason::Violation(violation);
        let message_bytes_max = match self.phase {
            Phase::Open { .. } | Phase::Admitting { .. } => self.config.limits.message_bytes_max as usize,
            _ => HANDSHAKE_MESSAGE_BYTES_MAX,
        };
        let message =
            self.assembler.accept(frame, message_bytes_max).map_err(|error| broken(error.into()))?;
        let Some(bytes) = message else { return Ok(()) };
        let message = Message::decode(&bytes).map_err(|error| broken(error.into()))?;
        if let Message::Close(farewell) = message {
            return Err(match farewell {
                Farewell::Left => CloseReason::LeftByPeer,
                Farewell::Refused(refusal) => CloseReason::RefusedByPeer(refusal),
                Farewell::Violation(detail) => CloseReason::ViolationReported(detail),
                Farewell::Failed(detail) => CloseReason::PeerFailed(detail),
            });
        }
        match &self.phase {
            Phase::Greeting => self.greeted(message, bytes),
            Phase::Proving { .. } => self.proven(now, message, effects),
            Phase::Claiming { .. } => self.claimed(now, message, effects),
            Phase::Admitting { .. } => match message {
                // It knows of none of our collections, and so can speak of none but its own.
                Message::Offer(_) | Message::Ping | Message::Pong => {
                    self.told(now, message, effects).map_err(broken)
                }
                message => Err(broken(Violation::Unexpected(message.name()))),
            },
            Phase::Open { .. } => self.told(now, message, effects).map_err(broken),
            Phase::Closed => Ok(()),
        }
    }

    fn told(&mut self, now: Now, message: Message, effects: &mut Vec<Effect>) -> Result<(), Violation> {
        let name = message.name();
        let entries_max = self.config.limits.vector_entries_max;
        let bounded = |entries: usize| match entries > entries_max {
            true => Err(Violation::VectorTooLong { entries, entries_max }),
            false => Ok(()),
        };
        match message {
            Message::Hello(_) | Message::Proof { .. } | Message::Claim(_) | Message::Close(_) => {
                return Err(Violation::Unexpected(name));
            }
            Message::Ping if self.pong_waits => {}
            Message::Ping => {
                self.send(&Message::Pong);
                self.pong_waits = true;
            }
            Message::Pong => {}
            Message::Offer(offer) => {
                let waiting = self.unmatched.iter().map(|offer| offer.knowledge.len());
                bounded(waiting.sum::<usize>() + offer.knowledge.len())?;
                self.offer_received(offer, effects)?;
            }
            Message::Pull(pull) => {
                let Phase::Open { message_bytes_max, .. } = self.phase else { return Ok(()) };
                let limits = self.config.limits.clone();
                self.link(pull.collection, name)?.pulled(&pull, &limits, message_bytes_max)?;
            }
            Message::More { collection } => self.link(collection, name)?.source.acknowledged()?,
            Message::Changes(changes) => {
                bounded(changes.knowledge.len())?;
                self.counters.documents_received += changes.documents.len() as u64;
                let limits = self.config.limits.clone();
                let link = self.link(changes.collection, name)?;
                link.received(changes, &limits)?;
                bounded(link.entries())?;
            }
            Message::Update(update) => {
                bounded(update.knowledge.len())?;
                let limits = self.config.limits.clone();
                let link = self.link(update.collection, name)?;
                let collection = link.collection();
                let direct = link.updated(&update, &limits);
                bounded(link.entries())?;
                if let Some(origin) = direct {
                    effects.push(Effect::Direct { collection, origin });
                }
            }
            Message::Announce { collection, origins } => {
                bounded(origins.len())?;
                let delay = self.graft_delay();
                let link = self.link(collection, name)?;
                link.announced(&origins, now.monotonic, delay);
                bounded(link.entries())?;
            }
            Message::Graft { collection, origins } => {
                let limits = self.config.limits.clone();
                self.link(collection, name)?.source.grafted(&origins, &limits);
            }
            Message::Prune { collection, origins } => {
                let limits = self.config.limits.clone();
                self.link(collection, name)?.source.pruned(&origins, &limits);
            }
        }
        Ok(())
    }

    fn offer_received(&mut self, offer: Offer, effects: &mut Vec<Effect>) -> Result<(), Violation> {
        if self.offers_received >= self.config.limits.collections_max {
            return Err(Violation::TooManyCollections(self.config.limits.collections_max));
        }
        let twice = self
            .unmatched
            .iter()
            .any(|other| other.name == offer.name || other.collection == offer.collection);
        if twice || self.offered.contains_key(&offer.collection) {
            return Err(Violation::Unexpected("Offer"));
        }
        self.offers_received += 1;
        let open = matches!(self.phase, Phase::Open { .. });
        let link = self.links.iter().position(|link| *link.name() == offer.name);
        match link.filter(|_| open) {
            Some(index) if self.links[index].is_offered() => return Err(Violation::Unexpected("Offer")),
            Some(index) => self.match_offer(index, offer, effects),
            None => self.unmatched.push(offer),
        }
        Ok(())
    }

    pub(super) fn match_offer(&mut self, index: usize, offer: Offer, effects: &mut Vec<Effect>) {
        self.offered.insert(offer.collection, index);
        let peer = self.peer().expect("offers come after the proofs");
        effects.extend(self.links[index].matched(&peer, offer));
    }

    fn link(&mut self, offer: OfferIndex, message: &'static str) -> Result<&mut Link, Violation> {
        let index = self.offered.get(&offer).ok_or(Violation::NotShared(message))?;
        let link = &mut self.links[*index];
        if link.is_matched() { Ok(link) } else { Err(Violation::NotShared(message)) }
    }
}
