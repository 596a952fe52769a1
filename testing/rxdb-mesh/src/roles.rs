//! Who is master of whom: decided for each pair by a hash of both storage tokens, and not transitive.

use sha2::{Digest, Sha256};

/// Which side of a link a peer is on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Answers, and streams its changes.
    Master,
    /// Runs the replication, and resolves conflicts.
    Fork,
}

/// The role of the peer with the token `own` towards the one with the token `other`.
///
/// Two peers with the same token are both forks, as with RxDB: each asks and neither streams.
pub fn role(own: &str, other: &str) -> Role {
    // The order of the bytes is that of the lower-case hexadecimal strings, which RxDB compares.
    if digest(own, other) > digest(other, own) { Role::Master } else { Role::Fork }
}

/// Tokens for as many peers, such that in each of the pairs the first is the master of the second.
///
/// None if a pair names a peer that there is not, or is contradicted by another. Otherwise tokens are tried in a fixed order, so
/// the answer is always the same; each token halves the number of candidates per pair, so up to six peers are found quickly.
pub fn tokens_for(peers: usize, masters: &[(usize, usize)]) -> Option<Vec<String>> {
    let valid = |&(master, fork): &(usize, usize)| master < peers && fork < peers && master != fork;
    let contradicted = |&(master, fork): &(usize, usize)| masters.contains(&(fork, master));
    if !masters.iter().all(valid) || masters.iter().any(contradicted) {
        return None;
    }
    let mut tokens: Vec<String> = Vec::new();
    for peer in 0..peers {
        let fits = |token: &String| {
            masters.iter().all(|&(master, fork)| match (master == peer, fork == peer) {
                (true, _) if fork < peer => role(token, &tokens[fork]) == Role::Master,
                (_, true) if master < peer => role(&tokens[master], token) == Role::Master,
                _ => true,
            })
        };
        let mut candidates = (0u64..).map(|number| format!("peer-{peer}-{number:03}"));
        tokens.push(candidates.find(fits)?);
    }
    Some(tokens)
}

fn digest(first: &str, second: &str) -> [u8; 32] {
    Sha256::new().chain_update(first).chain_update("|").chain_update(second).finalize().into()
}
