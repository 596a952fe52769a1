//! The settings file as the program itself writes it: the room that it was invited to, and nothing else of it changed.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use peerloom::Invitation;
use toml_edit::{DocumentMut, value};

/// What an invitation begins with.
const INVITATION_SCHEME: &str = "peerloom:";

/// Why the settings file could not be written. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsFileError {
    #[error("settings file {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("settings file {}", path.display())]
    Malformed { path: PathBuf, source: MalformedSettings },
}

/// Where a settings file is wrong, and what is. Unlike the parser's own error it does not show the line, which may hold an
/// invitation.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {detail}")]
pub(crate) struct MalformedSettings {
    line: usize,
    detail: String,
}

impl MalformedSettings {
    pub(crate) fn new(text: &str, at: Option<Range<usize>>, message: &str) -> Self {
        let before = at.and_then(|at| text.get(..at.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        // The parser repeats what it did not expect, in quotation marks where that is a string.
        let shows_value = message.contains('"') || message.contains(INVITATION_SCHEME);
        let setting =
            text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(name, _)| name.trim());
        let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let detail = match setting.filter(is_name) {
            _ if !shows_value => message.to_owned(),
            Some(setting) => format!("not a value of {setting}"),
            None => "not a value of this setting".to_owned(),
        };
        Self { line, detail }
    }
}

/// Puts an invitation in place of whatever the file says of a room. Comments and other settings stay.
///
/// A new file is for its user alone. One that was there keeps its owner and its permissions, but that nobody else can read it.
/// When this returns it is durable; a crash before leaves the file as it was.
pub(crate) fn write_room(path: &Path, invitation: &Invitation) -> Result<(), SettingsFileError> {
    let unwritable = |source| SettingsFileError::Unwritable { path: path.to_owned(), source };
    // Behind a link, so that the link stays.
    let place = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        place => place.map_err(unwritable)?,
    };
    let text = match fs::read_to_string(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(unwritable)?,
    };
    let text = with_room(&text, invitation).map_err(|error| {
        let source = MalformedSettings::new(&text, error.span(), error.message());
        SettingsFileError::Malformed { path: path.to_owned(), source }
    })?;
    replace(&place, &text).map_err(unwritable)
}

fn with_room(text: &str, invitation: &Invitation) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    for setting in ["topic", "key_file", "passphrase_file"] {
        document.remove(setting);
    }
    if !invitation.signaling_urls().is_empty() {
        document.remove("signaling");
    }
    document["invitation"] = value(invitation.to_string());
    Ok(document.to_string())
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // For its user alone from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) => {
            fchown(file.as_file(), Some(metadata.uid()), Some(metadata.gid()))?;
            file.as_file().set_permissions(Permissions::from_mode(metadata.mode() & 0o770))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_the_settings_file_shows_no_secret() {
        for line in [
            "invitation = peerloom:1secret",
            "invitation = \"peerloom:1secret",
            "invitation = [\"peerloom:1secret\"]",
            "storage = \"peerloom:1secret\"",
            "peers_max = \"secret\"",
            "secret",
        ] {
            let text = format!("topic = \"notes\"\n{line}\n");
            let read = toml::from_str::<crate::settings::Given>(&text).expect_err(line);
            let read = MalformedSettings::new(&text, read.span(), read.message());
            let written = text.parse::<DocumentMut>().err();
            let written =
                written.map(|error| MalformedSettings::new(&text, error.span(), error.message()).to_string());
            for error in [Some(read.to_string()), written].into_iter().flatten() {
                assert!(error.starts_with("line "), "{line}: {error}");
                assert!(!error.contains("secret"), "{line}: {error}");
            }
        }
    }

    #[test]
    fn an_error_in_the_settings_file_names_the_setting() {
        let text = "topic = \"notes\"\npeers_max = \"many\"\n";
        let error = toml::from_str::<crate::settings::Given>(text).expect_err("a number is wanted");
        let error = MalformedSettings::new(text, error.span(), error.message()).to_string();
        assert_eq!(error, "line 2: not a value of peers_max");
    }
}
