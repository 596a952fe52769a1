//! Two people share notes without any server. They find each other by copying one text each way, by mail or chat.
//!
//! One runs `cargo run -p manual-signaling -- invite`, the other `cargo run -p manual-signaling -- accept`. What the first
//! one prints is pasted at the second one, and what that prints is pasted back. From then on each line that one types is a
//! note that the other one sees.
//!
//! A terminal takes lines of 4,095 bytes at most, which is enough for a machine with some ten addresses. Beyond, let the
//! text come from a file.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use peerloom::webrtc::{Exchange, ManualSignaling, Options};
use peerloom::{Collection, Memory, Node, RoomEvent, WebRtc};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

/// How long people may take to copy a text.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Note {
    author: String,
    text: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let role = std::env::args().nth(1).unwrap_or_default();
    let (signaling, mut exchange) = match role.as_str() {
        "invite" => ManualSignaling::inviting(),
        "accept" => ManualSignaling::invited(),
        _ => bail!("say `invite` or `accept`"),
    };
    let node = Node::builder(Memory::new()).open().await?;
    let notes: Collection<Note> = node.collection("notes").open().await?;
    // Nobody hurries, so neither do the tries.
    let options = Options {
        attempt_timeout: PATIENCE,
        check_interval: Duration::from_millis(250),
        ..Options::default()
    };
    let room = node.room("two-people").share(&notes).join(WebRtc::with_options(signaling, options)).await?;
    let mut events = room.events();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();

    if role == "invite" {
        show(&mut exchange).await?;
        take(&mut exchange, &mut lines).await?;
    } else {
        take(&mut exchange, &mut lines).await?;
        show(&mut exchange).await?;
    }
    println!("Connecting.");
    while !matches!(events.next().await.context("the room ended")?, RoomEvent::PeerJoined { .. }) {}
    println!("Connected. Each line is a note.");
    talk(&role, &notes, &mut lines).await?;
    room.leave().await;
    node.close().await?;
    Ok(())
}

async fn show(exchange: &mut Exchange) -> anyhow::Result<()> {
    let text = exchange.show().await.context("the room ended")?;
    println!("Send this line to the other one:\n\n{text}\n");
    Ok(())
}

async fn take(exchange: &mut Exchange, lines: &mut Lines<BufReader<Stdin>>) -> anyhow::Result<()> {
    println!("Paste the line of the other one:");
    loop {
        let line = lines.next_line().await?.context("nothing was pasted")?;
        if line.trim().is_empty() {
            continue;
        }
        match exchange.take(&line) {
            Ok(()) => return Ok(()),
            Err(error) => println!("{error}. Once more:"),
        }
    }
}

async fn talk(
    author: &str,
    notes: &Collection<Note>,
    lines: &mut Lines<BufReader<Stdin>>,
) -> anyhow::Result<()> {
    let mut changes = notes.watch_from(None);
    let mut written = 0_u32;
    loop {
        tokio::select! {
            biased;
            line = lines.next_line() => match line? {
                Some(text) => {
                    written += 1;
                    let note = Note { author: author.to_owned(), text };
                    notes.put(format!("{author}/{written:06}"), &note).await?;
                }
                None => return Ok(()),
            },
            change = changes.next() => {
                let id = change.context("the collection closed")??.id;
                if let Some(note) = notes.get(id).await?.filter(|note| note.author != author) {
                    println!("{}: {}", note.author, note.text);
                }
            }
        }
    }
}
