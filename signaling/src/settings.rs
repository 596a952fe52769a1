//! The settings of the program: flags, then environment variables, then a TOML file, then defaults.
//!
//! Each setting has one name: `--idle-timeout-seconds`, `PEERLOOM_SIGNALING_IDLE_TIMEOUT_SECONDS`, and
//! `idle_timeout_seconds` in the file. Secrets are never flags, because everybody on a machine can read those: they come
//! from a file or from the environment.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use peerloom_signaling::authentication::{Authentication, SharedToken, SignedTokens};
use peerloom_signaling::permit::StockPeers;
use peerloom_signaling::rooms::{Limits, RoomsOptions};
use peerloom_signaling::server::{ClientAddress, ServerOptions, Tls};
use peerloom_signaling::turn::Turn;
use serde::{Deserialize, Serialize};

/// What the names of all environment variables begin with.
const VARIABLE_PREFIX: &str = "PEERLOOM_SIGNALING_";

/// A signaling server: peers find each other through it and then talk directly.
///
/// It serves Peerloom peers and RxDB's WebRTC replication. Every path is a WebSocket, but for /healthz and /metrics.
/// SIGTERM or Ctrl-C ends it after everybody has been sent what waits for them.
#[derive(Debug, Deserialize, Parser, Serialize)]
#[command(version, max_term_width = 110)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A TOML file with these settings, named as the flags are, with _ for -. Flags and variables come first.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,

    /// The address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// The certificate chain, in PEM. With it the server speaks TLS (wss).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// The header into which a proxy puts the client's address last, such as x-forwarded-for. Set it only if nobody
    /// can reach the server but through the proxy.
    #[arg(long, value_name = "NAME")]
    client_address_header: Option<String>,

    /// Which log lines to write: off, error, warn, info, debug or trace, also by module.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,

    /// How to write log lines, to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,

    /// A file with the token that all peers have to present. Or PEERLOOM_SIGNALING_TOKEN.
    #[arg(long, value_name = "FILE", help_heading = "Authentication", conflicts_with = "jwt_key_file")]
    token_file: Option<PathBuf>,

    /// A file with the key that verifies signed room tokens: an Ed25519 public key in PEM, or a secret of at least 32
    /// bytes for HS256. Or PEERLOOM_SIGNALING_JWT_KEY.
    #[arg(long, value_name = "FILE", help_heading = "Authentication")]
    jwt_key_file: Option<PathBuf>,

    /// Do not introduce stock RxDB peers to each other: they meet only through Peerloom peers. A room token may say
    /// otherwise.
    #[arg(long, help_heading = "Rooms")]
    keep_stock_peers_apart: bool,

    /// Members of one room.
    #[arg(long, default_value_t = Limits::default().members_per_room_max, value_name = "COUNT", help_heading = "Rooms")]
    members_per_room_max: NonZeroUsize,

    /// Rooms that one peer is in at once.
    #[arg(long, default_value_t = Limits::default().rooms_per_peer_max, value_name = "COUNT", help_heading = "Rooms")]
    rooms_per_peer_max: NonZeroUsize,

    /// The shortest time between two full lists of a room to its stock RxDB peers.
    #[arg(long, default_value_t = millis(Limits::default().list_interval), value_name = "MS", help_heading = "Rooms")]
    list_interval_ms: u64,

    /// A TURN server's URL, such as turn:turn.example.org:3478?transport=udp. Several flags, or commas between them.
    #[arg(long, value_delimiter = ',', value_name = "URL", help_heading = "TURN")]
    turn_url: Vec<String>,

    /// A file with the secret that the TURN server knows as static-auth-secret. Or PEERLOOM_SIGNALING_TURN_SECRET.
    #[arg(long, value_name = "FILE", help_heading = "TURN")]
    turn_secret_file: Option<PathBuf>,

    /// How long TURN credentials are valid. Connected peers get new ones after half of it.
    #[arg(long, default_value_t = 3600.try_into().expect("not zero"), value_name = "SECONDS", help_heading = "TURN")]
    turn_valid_seconds: NonZeroU64,

    /// Connections from one address (IPv6: from one /64).
    #[arg(long, default_value_t = ServerOptions::default().connections_per_address_max, value_name = "COUNT", help_heading = "Limits")]
    connections_per_address_max: NonZeroUsize,

    /// Connections that are not yet WebSockets.
    #[arg(long, default_value_t = ServerOptions::default().handshakes_max, value_name = "COUNT", help_heading = "Limits")]
    handshakes_max: NonZeroUsize,

    /// Bytes of one message from a peer.
    #[arg(long, default_value_t = Limits::default().message_bytes_max, value_name = "BYTES", help_heading = "Limits")]
    message_bytes_max: NonZeroUsize,

    /// Messages a second from one peer, in the long run.
    #[arg(long, default_value_t = Limits::default().messages_per_second, value_name = "COUNT", help_heading = "Limits")]
    messages_per_second: NonZeroU32,

    /// Messages that a peer may send at once. A join or a leave counts as 20.
    #[arg(long, default_value_t = Limits::default().messages_burst, value_name = "COUNT", help_heading = "Limits")]
    messages_burst: NonZeroU32,

    /// Bytes that wait to be sent to one peer.
    #[arg(long, default_value_t = Limits::default().queue_bytes_max, value_name = "BYTES", help_heading = "Limits")]
    queue_bytes_max: NonZeroUsize,

    /// Bytes that all peers together may take, in the worst case.
    #[arg(long, default_value_t = Limits::default().memory_bytes_max, value_name = "BYTES", help_heading = "Limits")]
    memory_bytes_max: NonZeroUsize,

    /// How long a connection may take to become a WebSocket.
    #[arg(long, default_value_t = ServerOptions::default().handshake_timeout.as_secs(), value_name = "SECONDS", help_heading = "Time-outs")]
    handshake_timeout_seconds: u64,

    /// How long a peer may say nothing. RxDB's peers ping each minute.
    #[arg(long, default_value_t = Limits::default().idle_timeout.as_secs(), value_name = "SECONDS", help_heading = "Time-outs")]
    idle_timeout_seconds: u64,

    /// How long one message to a peer may take.
    #[arg(long, default_value_t = Limits::default().send_timeout.as_secs(), value_name = "SECONDS", help_heading = "Time-outs")]
    send_timeout_seconds: u64,

    /// How long a peer that is closed has to take note of it.
    #[arg(long, default_value_t = ServerOptions::default().close_timeout.as_secs(), value_name = "SECONDS", help_heading = "Time-outs")]
    close_timeout_seconds: u64,

    /// How long all peers have to take what waits for them when the server stops.
    #[arg(long, default_value_t = ServerOptions::default().drain_timeout.as_secs(), value_name = "SECONDS", help_heading = "Time-outs")]
    drain_timeout_seconds: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// From the process's arguments and environment. Ends the process if the arguments are wrong or ask for help.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let command = Self::command().mut_args(|argument| {
            let variable = format!("{VARIABLE_PREFIX}{}", argument.get_id().as_str().to_uppercase());
            // Lives as long as the process, which does this once.
            argument.env(Box::leak(variable.into_boxed_str()) as &'static str).hide_env(true)
        });
        let after_help = format!(
            "Each setting can also come from an environment variable, such as {VARIABLE_PREFIX}LISTEN, or from the \
             file of --config."
        );
        let matches = command.after_help(after_help).get_matches();
        let settings = Self::from_arg_matches(&matches)?;
        match &settings.config {
            None => Ok(settings),
            Some(path) => settings.with_file(path, &matches),
        }
    }

    /// Takes from the file what neither a flag nor a variable says.
    fn with_file(&self, path: &Path, matches: &ArgMatches) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let file: toml::Table = fs::read_to_string(path)?.parse()?;
            let mut all = toml::Table::try_from(self)?;
            for (name, value) in file {
                let known = matches.try_contains_id(&name).is_ok() && name != "config";
                ensure!(known, "there is no setting `{name}`");
                let source = matches.value_source(&name);
                if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
                    all.insert(name, value);
                }
            }
            Ok(all.try_into()?)
        };
        read().with_context(|| format!("settings file {}", path.display()))
    }

    /// What the server is to do.
    pub(crate) fn server_options(&self) -> anyhow::Result<ServerOptions> {
        let client_address = match &self.client_address_header {
            None => ClientAddress::socket(),
            Some(name) => ClientAddress::header(name).context("client_address_header")?,
        };
        Ok(ServerOptions {
            rooms: RoomsOptions {
                limits: self.limits(),
                stock_peers: match self.keep_stock_peers_apart {
                    true => StockPeers::KeptApart,
                    false => StockPeers::Introduced,
                },
                turn: self.turn()?,
            },
            authentication: self.authentication()?,
            tls: self.tls()?,
            client_address,
            connections_per_address_max: self.connections_per_address_max,
            handshakes_max: self.handshakes_max,
            handshake_timeout: Duration::from_secs(self.handshake_timeout_seconds),
            close_timeout: Duration::from_secs(self.close_timeout_seconds),
            drain_timeout: Duration::from_secs(self.drain_timeout_seconds),
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            members_per_room_max: self.members_per_room_max,
            rooms_per_peer_max: self.rooms_per_peer_max,
            message_bytes_max: self.message_bytes_max,
            messages_per_second: self.messages_per_second,
            messages_burst: self.messages_burst,
            queue_bytes_max: self.queue_bytes_max,
            memory_bytes_max: self.memory_bytes_max,
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds),
            send_timeout: Duration::from_secs(self.send_timeout_seconds),
            list_interval: Duration::from_millis(self.list_interval_ms),
        }
    }

    fn authentication(&self) -> anyhow::Result<Authentication> {
        let token = secret("TOKEN", self.token_file.as_deref())?;
        let key = secret("JWT_KEY", self.jwt_key_file.as_deref())?;
        Ok(match (token, key) {
            (None, None) => Authentication::None,
            (Some(token), None) => {
                let token = String::from_utf8(token).context("the token is not UTF-8")?;
                Authentication::Token(SharedToken::new(&token))
            }
            (None, Some(key)) => {
                Authentication::Signed(SignedTokens::new(&key).context("the key for signed tokens")?)
            }
            (Some(_), Some(_)) => {
                bail!("a token for all and a key for signed tokens: only one of them can be set")
            }
        })
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        match (&self.tls_certificate, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Tls::from_pem(&read(certificate)?, &read(key)?)?)),
            _ => bail!("tls_certificate and tls_key: both or none"),
        }
    }

    fn turn(&self) -> anyhow::Result<Option<Turn>> {
        let secret = secret("TURN_SECRET", self.turn_secret_file.as_deref())?;
        match (self.turn_url.is_empty(), secret) {
            (true, None) => Ok(None),
            (false, Some(secret)) => {
                let valid_for = Duration::from_secs(self.turn_valid_seconds.get());
                Ok(Some(Turn { urls: self.turn_url.clone(), secret, valid_for }))
            }
            _ => bail!("turn_url and a TURN secret: both or none"),
        }
    }
}

/// A secret from the file, without the line's end, or else from the environment.
fn secret(variable: &str, file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let secret = match file {
        Some(path) => Some(read(path)?.trim_ascii_end().to_vec()),
        None => std::env::var_os(format!("{VARIABLE_PREFIX}{variable}")).map(OsString::into_encoded_bytes),
    };
    ensure!(secret.as_ref().is_none_or(|secret| !secret.is_empty()), "the secret {variable} is empty");
    Ok(secret)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("a default is short")
}
