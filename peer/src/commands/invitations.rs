//! Inviting others to the room of this peer, and following an invitation: neither opens the storage.

use std::io::{self, IsTerminal, Read};

use peerloom::{Invitation, TopicKey};
use qrcode::render::unicode::Dense1x2;
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};
use serde::Serialize;

use crate::arguments::{Invite, Join};
use crate::failure::Failure;
use crate::output::{Format, Output};
use crate::peer::make_directory;
use crate::settings::{Settings, SettingsError};
use crate::settings_file::write_room;

/// The most bytes of standard input that are taken for an invitation: the longest there is, wrapped and indented.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// An invitation as `invite` prints it.
#[derive(Serialize)]
struct Invited<'a> {
    topic: &'a str,
    signaling: &'a [String],
    invitation: String,
}

/// What `join` has done.
#[derive(Serialize)]
struct WillJoin<'a> {
    topic: &'a str,
    signaling: &'a [String],
    settings_file: String,
}

/// Prints an invitation to the room that is set, or makes one and sets it.
pub(crate) fn invite(settings: &Settings, output: &mut Output, arguments: Invite) -> Result<(), Failure> {
    let invitation = match arguments.new_topic {
        None => to_room_that_is_set(settings)?,
        Some(topic) => to_new_room(settings, &topic, arguments.replace)?,
    };
    if invitation.topic_key().is_none() {
        tracing::warn!("the room has no key: whoever knows its topic can join it without an invitation");
    }
    let (topic, signaling) = (invitation.topic(), invitation.signaling_urls());
    let invited = Invited { topic, signaling, invitation: invitation.to_string() };
    output.print(&invited, || invited.invitation.clone())?;
    if output.format() == Format::Text && !arguments.no_qr {
        match qr_code(&invitation) {
            Ok(code) => output.bytes(code.as_bytes())?,
            Err(error) => tracing::warn!(%error, "the invitation has no QR code"),
        }
    }
    output.flush()
}

/// Writes an invitation into the settings file.
pub(crate) fn join(settings: &Settings, output: &mut Output, arguments: Join) -> Result<(), Failure> {
    let text = if arguments.invitation == "-" { read_input()? } else { arguments.invitation };
    let invitation: Invitation = text.parse().map_err(SettingsError::Invitation)?;
    if invitation.signaling_urls().is_empty() && settings.signaling().is_empty() {
        return Err(SettingsError::Missing("signaling URL").into());
    }
    set_room(settings, &invitation, arguments.replace)?;
    let settings_file = settings.file.display().to_string();
    let signaling = settings.signaling_of(&invitation);
    let joined = WillJoin { topic: invitation.topic(), signaling, settings_file };
    output.print(&joined, || {
        let WillJoin { topic, settings_file, .. } = &joined;
        format!("the room of {topic:?} is set in {settings_file}: `serve` joins it, from its next start on")
    })?;
    output.flush()
}

fn to_room_that_is_set(settings: &Settings) -> Result<Invitation, Failure> {
    let room = settings.invitation()?.ok_or(Failure::NoRoom)?;
    let signaling = settings.signaling_of(&room);
    let bare = Invitation::new(room.topic()).map_err(SettingsError::Topic)?;
    let bare = match room.topic_key() {
        Some(key) => bare.key(key.clone()),
        None => bare,
    };
    with_signaling(bare, signaling)
}

fn to_new_room(settings: &Settings, topic: &str, replace: bool) -> Result<Invitation, Failure> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| Failure::System(error.into()))?;
    let room = Invitation::new(topic).map_err(SettingsError::Topic)?.key(TopicKey::new(key));
    let invitation = with_signaling(room, settings.signaling())?;
    set_room(settings, &invitation, replace)?;
    Ok(invitation)
}

/// Whoever is invited has to know where the others are.
fn with_signaling(mut room: Invitation, servers: &[String]) -> Result<Invitation, Failure> {
    if servers.is_empty() {
        return Err(SettingsError::Missing("signaling URL").into());
    }
    for url in servers {
        room = room.signaling(url).map_err(SettingsError::Signaling)?;
    }
    Ok(room)
}

/// Writes the room into the settings file, unless that has another one.
fn set_room(settings: &Settings, invitation: &Invitation, replace: bool) -> Result<(), Failure> {
    settings.room_is_of_file()?;
    // A room that cannot be read is no obstacle for those who want it gone.
    if !replace
        && let Some(room) = settings.invitation()?
        && (room.topic(), room.topic_key()) != (invitation.topic(), invitation.topic_key())
    {
        let topic = room.topic().to_owned();
        return Err(Failure::OtherRoom { path: settings.file.clone(), topic });
    }
    if settings.file.parent() == Some(&settings.data) {
        make_directory(&settings.data)?;
    }
    Ok(write_room(&settings.file, invitation)?)
}

fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| Failure::File { path: "standard input".into(), source })?;
    Ok(text)
}

/// A QR code of half blocks with a quiet zone. Light modules are drawn and dark ones left out, as terminals are dark; one that
/// takes colours is told them, so that the code is right in a light one as well.
fn qr_code(invitation: &Invitation) -> Result<String, QrError> {
    let text = invitation.to_string().to_uppercase();
    // What is on a screen is not damaged: a smaller code is worth more than one that can be mended.
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let (dark, light) = (Dense1x2::Light, Dense1x2::Dark);
    let drawn = code.render::<Dense1x2>().dark_color(dark).light_color(light).quiet_zone(true).build();
    let (begin, end) = if io::stdout().is_terminal() { ("\x1b[40;97m", "\x1b[0m") } else { ("", "") };
    Ok(drawn.lines().map(|line| format!("{begin}{line}{end}\n")).collect())
}
