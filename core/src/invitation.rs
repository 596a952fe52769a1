//! Invitations: what somebody needs to join a room, as text that fits a message, a page or a QR code.
//!
//! `peerloom:` and base 32 (RFC 4648) of a version, a CBOR array of topic, key and signaling servers, and the first four bytes
//! of the SHA-256 of both. Base 32, because it survives being read aloud and is the densest that QR codes have for text.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{InvalidName, Topic};
use crate::topic_key::{TopicKey, base32};

const PREFIX: &str = "peerloom:";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// The most characters of an invitation. As many as the largest QR code holds.
const CHARACTERS_MAX: usize = 4296;

/// The most signaling servers in an invitation.
const SIGNALING_MAX: usize = 8;

/// The most bytes of a signaling server's URL.
const URL_BYTES_MAX: usize = 256;

/// What somebody needs to join a room: its topic, its key if it has one, and where its signaling servers are.
///
/// Written as text, which reads back in either case and with white space anywhere, so that it survives
/// being wrapped, and being in a QR code, where upper case takes less room. Whoever has the text can join: keep it like the key.
///
/// ```
/// use peerloom_core::{Invitation, TopicKey};
/// let invitation = Invitation::new("our-notes")?
///     .key(TopicKey::new([7; 32]))
///     .signaling("wss://signaling.example.org")?;
/// let text = invitation.to_string();
/// assert!(text.starts_with("peerloom:"));
/// assert_eq!(text.to_uppercase().parse(), Ok(invitation));
/// # Ok::<(), peerloom_core::InvalidInvitation>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Invitation {
    topic: Topic,
    key: Option<TopicKey>,
    signaling: Vec<String>,
}

/// Text that is no invitation, or what an invitation cannot hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInvitation {
    /// It does not begin with `peerloom:`, so it is something else.
    #[error("an invitation begins with {PREFIX:?}")]
    Prefix,
    /// It is longer than any invitation.
    #[error("an invitation has at most {CHARACTERS_MAX} characters, this one has {characters}")]
    TooLong {
        /// How many it has.
        characters: usize,
    },
    /// A character that no invitation has.
    #[error("an invitation has letters and the digits 2 to 7, but character {position} is {character:?}")]
    Character {
        /// The character.
        character: char,
        /// Its place, from 1, white space and the prefix counted.
        position: usize,
    },
    /// Characters are missing, or are wrong.
    #[error("the invitation is mistyped or cut short")]
    Checksum,
    /// Made by a later version: update this program.
    #[error("the invitation has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The checksum is right and the content is not: what made it is at fault.
    #[error("the content of the invitation: {0}")]
    Content(#[from] DecodeError),
    /// The topic cannot be used.
    #[error(transparent)]
    Topic(#[from] InvalidName),
    /// A signaling server is a URL of at most 256 bytes that begins with `ws://` or `wss://`.
    #[error(
        "{url:?} is not the URL of a signaling server, wss://host:port/path of at most {URL_BYTES_MAX} bytes"
    )]
    Signaling {
        /// What it is.
        url: String,
    },
    /// More signaling servers than an invitation holds.
    #[error("an invitation holds at most {SIGNALING_MAX} signaling servers")]
    TooManySignaling,
}

impl Invitation {
    /// An invitation to the room of a topic that has no key.
    pub fn new(topic: &str) -> Result<Self, InvalidInvitation> {
        Ok(Self { topic: Topic::new(topic)?, key: None, signaling: Vec::new() })
    }

    /// The key of the room.
    #[must_use]
    pub fn key(self, key: TopicKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Another signaling server, of at most 8. Its URL begins with `wss://`, or `ws://` for a server without TLS.
    ///
    /// # Errors
    ///
    /// [`InvalidInvitation::Signaling`] and [`InvalidInvitation::TooManySignaling`].
    pub fn signaling(mut self, url: &str) -> Result<Self, InvalidInvitation> {
        if self.signaling.len() >= SIGNALING_MAX {
            return Err(InvalidInvitation::TooManySignaling);
        }
        let host = url.strip_prefix("wss://").or(url.strip_prefix("ws://")).unwrap_or_default();
        let plain = url.chars().all(|character| character.is_ascii_graphic());
        if host.is_empty() || !plain || url.len() > URL_BYTES_MAX {
            return Err(InvalidInvitation::Signaling { url: url.chars().take(URL_BYTES_MAX).collect() });
        }
        self.signaling.push(url.to_string());
        Ok(self)
    }

    /// The topic, as people name it. What the transport sees of a room with a key is [`Topic::with_key`].
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// The key, if the room has one.
    pub fn topic_key(&self) -> Option<&TopicKey> {
        self.key.as_ref()
    }

    /// The URLs of the signaling servers, in the order in which they are to be tried.
    pub fn signaling_urls(&self) -> &[String] {
        &self.signaling
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(128);
        writer.array(3).text(self.topic.as_str());
        writer.optional(self.key.as_ref(), |writer, key| {
            writer.bytes(key.as_bytes());
        });
        writer.array(self.signaling.len());
        for url in &self.signaling {
            writer.text(url);
        }
        let mut bytes = alloc::vec![VERSION];
        bytes.extend(writer.finish());
        bytes.extend(checksum(&bytes));
        bytes
    }

    /// Later versions may append items.
    fn decode(content: &[u8]) -> Result<Self, InvalidInvitation> {
        let content = Bytes::copy_from_slice(content);
        let mut reader = Reader::new(&content);
        let later = reader.array_of_at_least(3)?;
        let mut invitation = Self::new(reader.text()?)?;
        invitation.key = reader.optional(Reader::bytes_of)?.map(TopicKey::new);
        for _ in 0..reader.array()? {
            invitation = invitation.signaling(reader.text()?)?;
        }
        reader.skip(later)?;
        reader.finish()?;
        Ok(invitation)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::digest(bytes);
    core::array::from_fn(|index| hash[index])
}

/// Shows the key: for those who are invited, not for logs. Those want [`Debug`](fmt::Debug).
impl fmt::Display for Invitation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", base32().encode(&self.encode()))
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Invitation")
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("signaling", &self.signaling)
            .finish()
    }
}

impl FromStr for Invitation {
    type Err = InvalidInvitation;

    fn from_str(text: &str) -> Result<Self, InvalidInvitation> {
        let mut symbols = String::new();
        for (index, character) in text.chars().enumerate().filter(|(_, character)| !character.is_whitespace())
        {
            let character_lower = character.to_ascii_lowercase();
            let expected = PREFIX.as_bytes().get(symbols.len()).copied().map(char::from);
            match expected {
                Some(expected) if character_lower != expected => return Err(InvalidInvitation::Prefix),
                None if !matches!(character_lower, 'a'..='z' | '2'..='7') => {
                    return Err(InvalidInvitation::Character { character, position: index + 1 });
                }
                _ => symbols.push(character_lower),
            }
            if symbols.len() > CHARACTERS_MAX {
                return Err(InvalidInvitation::TooLong { characters: text.chars().count() });
            }
        }
        let symbols = symbols.strip_prefix(PREFIX).ok_or(InvalidInvitation::Prefix)?;
        // A length that no bytes have, or bits beyond them: a character is missing.
        let bytes = base32().decode(symbols.as_bytes()).map_err(|_| InvalidInvitation::Checksum)?;
        let (content, sum) = bytes.split_last_chunk().ok_or(InvalidInvitation::Checksum)?;
        if *sum != checksum(content) {
            return Err(InvalidInvitation::Checksum);
        }
        match content {
            [VERSION, content @ ..] => Self::decode(content),
            [found, ..] => Err(InvalidInvitation::Version { found: *found }),
            [] => Err(InvalidInvitation::Checksum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    fn invitation() -> Invitation {
        let open = Invitation::new("our-notes").expect("valid");
        let keyed = open.key(TopicKey::new([7; 32]));
        keyed.signaling("wss://signaling.example.org").expect("valid")
    }

    fn text_of(bytes: &[u8]) -> String {
        format!("{PREFIX}{}", base32().encode(&[bytes, checksum(bytes).as_slice()].concat()))
    }

    #[test]
    fn an_invitation_is_written_as_protocol_md_says() {
        assert_eq!(
            invitation().to_string(),
            "peerloom:agbws33voiww433umvzvqiaha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha6axqg3xonztulzponuwo3tbnruw4zzomv4gc3lqnrss433sm4lslyw5"
        );
    }

    #[test]
    fn what_people_do_to_text_does_not_matter() {
        let text = invitation().to_string();
        let wrapped: Vec<String> =
            text.as_bytes().chunks(17).map(|line| format!("  {}", String::from_utf8_lossy(line))).collect();
        for text in [text.to_uppercase(), wrapped.join("\r\n"), format!("\n{text} ")] {
            assert_eq!(text.parse(), Ok(invitation()), "{text}");
        }
    }

    #[test]
    fn every_mistyped_character_and_every_cut_is_noticed() {
        let text = invitation().to_string();
        for position in PREFIX.len()..text.len() {
            let mut mistyped: Vec<char> = text.chars().collect();
            mistyped[position] = if mistyped[position] == 'q' { 'r' } else { 'q' };
            let mistyped: String = mistyped.into_iter().collect();
            assert_eq!(mistyped.parse::<Invitation>(), Err(InvalidInvitation::Checksum), "{mistyped}");
            assert_eq!(text[..position].parse::<Invitation>(), Err(InvalidInvitation::Checksum));
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        type Expected = fn(&InvalidInvitation) -> bool;
        let text = invitation().to_string();
        let later = text_of(&[2, 0x80]);
        let topicless = text_of(b"\x01\x83\x60\xf6\x80");
        let cut = text_of(b"\x01\x83");
        let web = text_of(b"\x01\x83\x61a\xf6\x81\x68http://x");
        let crowded = text_of(&[b"\x01\x83\x61a\xf6\x89".as_slice(), &b"\x66ws://a".repeat(9)].concat());
        let cases: [(&str, Expected); 11] = [
            ("", |error| *error == InvalidInvitation::Prefix),
            ("peerloom", |error| *error == InvalidInvitation::Prefix),
            ("https://example.org", |error| *error == InvalidInvitation::Prefix),
            ("peerloom:", |error| *error == InvalidInvitation::Checksum),
            ("peerloom:ab0c", |error| {
                *error == InvalidInvitation::Character { character: '0', position: 12 }
            }),
            (&text.repeat(60).replace("m:", "m"), |error| *error == InvalidInvitation::Prefix),
            (&later, |error| *error == InvalidInvitation::Version { found: 2 }),
            (&topicless, |error| matches!(error, InvalidInvitation::Topic(_))),
            (&cut, |error| matches!(error, InvalidInvitation::Content(_))),
            (&web, |error| matches!(error, InvalidInvitation::Signaling { .. })),
            (&crowded, |error| *error == InvalidInvitation::TooManySignaling),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Invitation>().expect_err(text);
            assert!(expected(&error), "{text}: {error}");
        }
        let long = format!("{PREFIX}{}", "a".repeat(CHARACTERS_MAX));
        let characters = long.len();
        assert_eq!(long.parse::<Invitation>(), Err(InvalidInvitation::TooLong { characters }));
    }

    #[test]
    fn items_that_a_later_version_appends_are_skipped() {
        let invitation = Invitation::new("a").expect("valid");
        assert_eq!(text_of(b"\x01\x84\x61a\xf6\x80\x63new").parse(), Ok(invitation));
    }

    #[test]
    fn a_log_does_not_show_the_key() {
        let logged = format!("{:?}", invitation());
        assert!(logged.contains("our-notes") && logged.contains("example.org"), "{logged}");
        assert!(!logged.contains("7, 7") && !logged.contains("0707"), "{logged}");
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_back(
            topic in "\\PC{1,60}",
            key in proptest::option::of(any::<[u8; 32]>()),
            servers in proptest::collection::vec("wss?://[a-z0-9.:/-]{1,40}", 0..=8),
        ) {
            let mut invitation = Invitation::new(&topic).expect("valid");
            invitation.key = key.map(TopicKey::new);
            for url in &servers {
                invitation = invitation.signaling(url).expect("valid");
            }
            prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(peerloom:)?\\PC{0,80}", bytes in any::<Vec<u8>>()) {
            let _ = text.parse::<Invitation>();
            let _ = text_of(&bytes).parse::<Invitation>();
        }
    }
}
