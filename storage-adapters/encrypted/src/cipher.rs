//! The cipher: XChaCha20-Poly1305 as draft-irtf-cfrg-xchacha-03 puts it together, a key for each nonce by HChaCha20, with
//! which the ChaCha20-Poly1305 of RFC 8439 seals.
//!
//! The latter is `ring`'s, which is assembly. RustCrypto's takes six times as long for a document of 250 bytes, because the compiler does not inline
//! its vector instructions; in a program that is built without optimization it takes far longer. `ring` does not overwrite keys: the
//! one that it gets is that of a single nonce, and opens nothing but what lies beside it in memory in the clear.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Tag, UnboundKey};
use zeroize::Zeroizing;

use crate::secret::KeyBytes;

pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const TAG_BYTES: usize = 16;

pub(crate) type Nonce = [u8; NONCE_BYTES];

/// A key that seals and opens.
pub(crate) struct Cipher(KeyBytes);

impl Cipher {
    pub(crate) fn new(key: KeyBytes) -> Self {
        Self(key)
    }

    /// Seals what lies behind the nonce's and the tag's place in a buffer, and fills these.
    pub(crate) fn seal(&self, nonce: &Nonce, bound: &[u8], buffer: &mut [u8]) {
        let (head, content) = buffer.split_at_mut(NONCE_BYTES + TAG_BYTES);
        let (key, rest) = self.of_nonce(nonce);
        let tag = key.seal_in_place_separate_tag(rest, Aad::from(bound), content);
        let tag = tag.expect("a buffer is smaller than 256 GiB");
        head[..NONCE_BYTES].copy_from_slice(nonce);
        head[NONCE_BYTES..].copy_from_slice(tag.as_ref());
    }

    /// The reverse. `None` if it was sealed with another key or for another place, or was altered.
    pub(crate) fn open(&self, bound: &[u8], buffer: &mut [u8]) -> Option<()> {
        let (head, content) = buffer.split_at_mut_checked(NONCE_BYTES + TAG_BYTES)?;
        let (nonce, tag) = head.split_first_chunk::<NONCE_BYTES>()?;
        let (key, rest) = self.of_nonce(nonce);
        let tag = Tag::from(<[u8; TAG_BYTES]>::try_from(tag).ok()?);
        key.open_in_place_separate_tag(rest, Aad::from(bound), tag, content, 0..).ok().map(drop)
    }

    /// The key that belongs to the first 16 bytes of a nonce, and the nonce that the others are for it.
    fn of_nonce(&self, nonce: &Nonce) -> (LessSafeKey, ring::aead::Nonce) {
        let (first, rest) = nonce.split_first_chunk::<16>().expect("a nonce is longer");
        let key = Zeroizing::new(hchacha::<R20>((&*self.0).into(), first.into()).0);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("32 bytes are a key");
        let mut short = [0; 12];
        short[4..].copy_from_slice(rest);
        (LessSafeKey::new(key), ring::aead::Nonce::assume_unique_for_key(short))
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;

    use super::*;

    fn sealed(key: [u8; 32], nonce: &Nonce, bound: &[u8], content: &[u8]) -> Vec<u8> {
        let mut buffer = [&[0; NONCE_BYTES + TAG_BYTES], content].concat();
        Cipher::new(Zeroizing::new(key)).seal(nonce, bound, &mut buffer);
        buffer
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(hexadecimal.replace(' ', "").as_bytes()).expect("it is hexadecimal")
    }

    /// Appendix A.3.1 of the draft.
    #[test]
    fn the_drafts_example_comes_out() {
        let content = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let key: Vec<u8> = (0x80..0xa0).collect();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let sealed = sealed(
            key.try_into().expect("32 bytes"),
            &nonce.try_into().expect("24 bytes"),
            &bytes("50515253c0c1c2c3c4c5c6c7"),
            content,
        );
        assert_eq!(sealed[NONCE_BYTES..][..TAG_BYTES], bytes("c0875924c1c7987947deafd8780acf49"));
        let begins = bytes("bd6d179d3e83d43b9576579493c0e939 572a1700252bfaccbed2902c21396cbb");
        assert_eq!(sealed[NONCE_BYTES + TAG_BYTES..][..32], begins);
    }

    proptest! {
        #[test]
        fn it_seals_as_another_implementation_does(
            key: [u8; 32],
            nonce: [u8; NONCE_BYTES],
            bound in prop::collection::vec(any::<u8>(), 0..100),
            content in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut sealed = sealed(key, &nonce, &bound, &content);
            let (tag, ciphertext) = sealed[NONCE_BYTES..].split_at(TAG_BYTES);
            let other = XChaCha20Poly1305::new(&Key::from(key))
                .encrypt(&XNonce::from(nonce), Payload { msg: &content, aad: &bound })
                .expect("it is short");
            prop_assert_eq!(other, [ciphertext, tag].concat());
            Cipher::new(Zeroizing::new(key)).open(&bound, &mut sealed).expect("nothing was altered");
            prop_assert_eq!(&sealed[NONCE_BYTES + TAG_BYTES..], &content);
        }
    }
}
