//! Reads frames for stories. A second, small reader of the wire format, so that core need not show its own.

use std::fmt::Write;

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

use crate::writes::incarnation_name;

/// The kinds of messages that travel after the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    Offer = 2,
    Pull,
    More,
    Changes,
    Update,
    Announce,
    Graft,
    Prune,
}

const KINDS: [Kind; 8] = [
    Kind::Offer,
    Kind::Pull,
    Kind::More,
    Kind::Changes,
    Kind::Update,
    Kind::Announce,
    Kind::Graft,
    Kind::Prune,
];

/// A frame holds a whole message: the byte 1, and an array that begins with the kind.
pub(crate) fn kind(frame: &[u8]) -> Option<Kind> {
    let number = *frame.get(2)?;
    KINDS.into_iter().find(|kind| *kind as u8 == number)
}

/// What a frame says.
pub(crate) fn describe(frame: &[u8]) -> String {
    let Some(kind) = kind(frame) else { return "a frame of another kind".into() };
    let mut text = format!("{kind:?}");
    let mut decoder = Decoder::new(&frame[1..]);
    match content(kind, &mut decoder, &mut text) {
        Ok(()) => text,
        Err(error) => format!("{text} ({error})"),
    }
}

fn content(kind: Kind, decoder: &mut Decoder<'_>, text: &mut String) -> Result<(), Error> {
    decoder.array()?;
    decoder.u8()?;
    decoder.u32()?;
    let mut say = |words: String| {
        if !words.is_empty() {
            let _ = write!(text, " {words}");
        }
    };
    match kind {
        Kind::Offer | Kind::More => {}
        Kind::Pull => say(format!("after {}", checkpoint(decoder)?)),
        Kind::Changes => {
            let origins = incarnations(decoder)?;
            for _ in 0..length(decoder)? / 2 {
                say(document(decoder, &origins)?);
            }
            say(format!("up to {}", checkpoint(decoder)?));
            say(if decoder.bool()? { "complete".into() } else { String::new() });
            say(named("vouching for", &vector(decoder)?));
        }
        Kind::Update => {
            say(match optional(decoder)? {
                false => String::new(),
                true => format!("incarnation {}", incarnation_name(decoder.u64()?)),
            });
            say(named("knows", &vector(decoder)?));
            say(named("hears", &incarnations(decoder)?));
            say(named("hears no more", &incarnations(decoder)?));
        }
        Kind::Announce => say(vector(decoder)?.join(" ")),
        Kind::Graft | Kind::Prune => say(incarnations(decoder)?.join(" ")),
    }
    Ok(())
}

fn named(name: &str, list: &[String]) -> String {
    if list.is_empty() { String::new() } else { format!("{name} {}", list.join(" ")) }
}

fn length(decoder: &mut Decoder<'_>) -> Result<u64, Error> {
    decoder.array()?.ok_or_else(|| Error::message("an array without length"))
}

/// Whether a value is there; passes over the null that says it is not.
fn optional(decoder: &mut Decoder<'_>) -> Result<bool, Error> {
    let there = decoder.datatype()? != Type::Null;
    if !there {
        decoder.null()?;
    }
    Ok(there)
}

fn checkpoint(decoder: &mut Decoder<'_>) -> Result<String, Error> {
    if !optional(decoder)? {
        return Ok("nothing".into());
    }
    decoder.array()?;
    let (incarnation, end, sequence) = (decoder.u64()?, decoder.u64()?, decoder.u64()?);
    Ok(format!("{sequence} of {end}({})", incarnation_name(incarnation)))
}

fn incarnations(decoder: &mut Decoder<'_>) -> Result<Vec<String>, Error> {
    (0..length(decoder)?).map(|_| decoder.u64().map(incarnation_name)).collect()
}

fn vector(decoder: &mut Decoder<'_>) -> Result<Vec<String>, Error> {
    let entries = length(decoder)? / 2;
    let mut entry = || Ok(format!("{}:{}", incarnation_name(decoder.u64()?), stamp(decoder.u64()?)));
    (0..entries).map(|_| entry()).collect()
}

fn document(decoder: &mut Decoder<'_>, origins: &[String]) -> Result<String, Error> {
    let id = decoder.str()?.to_string();
    decoder.array()?;
    let mut context = Vec::new();
    for _ in 0..length(decoder)? / 2 {
        let origin = &origins[decoder.u32()? as usize];
        context.push(format!("{origin}:{}", stamp(decoder.u64()?)));
    }
    let mut heads = Vec::new();
    for _ in 0..length(decoder)? {
        decoder.array()?;
        decoder.skip()?;
        decoder.skip()?;
        decoder.skip()?;
        heads.push(String::from_utf8_lossy(decoder.bytes()?).into_owned());
        decoder.skip()?;
    }
    Ok(format!("{id}={} [{}]", heads.join("+"), context.join(" ")))
}

/// All stamps are of one millisecond; what is left is the counter.
pub(crate) fn stamp(number: u64) -> u64 {
    number & 0xffff
}
