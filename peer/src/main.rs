//! The program `peerloom-peer`: an always-on peer.
//!
//! A storage is held by one process at a time. While `serve` holds it, the other commands reach it through a socket in
//! its directory (`control`); otherwise they open it themselves (`access`). What is done is the same (`peer`).

mod access;
mod arguments;
mod commands;
mod control;
mod document;
mod failure;
mod lines;
mod output;
mod peer;
mod rxdb;
mod secrets;
mod serve;
mod settings;
mod settings_file;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use access::Access;
use arguments::{Arguments, Command};
use commands::Listing;
use control::WatchFrom;
use failure::Failure;
use output::{Format, Output};
use settings::{LogFormat, MissingFile, Settings};

fn main() -> ExitCode {
    let arguments = Arguments::load();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_unread_output() => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            eprintln!("error: {:#}", anyhow::Error::from(error));
            code
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let makes_file = matches!(arguments.command, Command::Invite(_) | Command::Join(_));
    let missing_file = if makes_file { MissingFile::Make } else { MissingFile::Refuse };
    let settings = Settings::of(arguments.settings, missing_file)?;
    start_logging(&settings, &arguments.command)?;
    let format = if arguments.json { Format::Json } else { Format::Text };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::System)?;
    let done = runtime.block_on(execute(&settings, format, arguments.command));
    // Does not wait for a thread that reads standard input.
    runtime.shutdown_background();
    done
}

fn start_logging(settings: &Settings, command: &Command) -> Result<(), Failure> {
    // What the WebRTC stack has to say is for its authors, or comes as an event of the room as well.
    let default = if matches!(command, Command::Serve) { "info,rtc=off,webrtc=off" } else { "warn" };
    let filter = settings.log.as_deref().unwrap_or(default);
    let filter =
        EnvFilter::try_new(filter).map_err(|error| Failure::Value(format!("the log filter: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

async fn execute(settings: &Settings, format: Format, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve => return serve::serve(settings, &stop_signal()?).await,
        Command::Invite(arguments) => {
            return commands::invite(settings, &mut Output::new(format), arguments);
        }
        Command::Join(arguments) => return commands::join(settings, &mut Output::new(format), arguments),
        Command::Watch { of, from_start } => {
            let from = if from_start { WatchFrom::Start } else { WatchFrom::Now };
            let access = Access::to_served(settings).await?;
            return commands::watch(access, &mut Output::new(format), of.collection, from).await;
        }
        Command::Status => {
            let mut access = Access::to_served(settings).await?;
            let mut output = Output::new(format);
            commands::status(&mut access, &mut output).await?;
            return output.flush();
        }
        Command::CatchUp => return commands::catch_up(&mut Access::to_served(settings).await?).await,
        _ => {}
    }
    let mut access = Access::to(settings).await?;
    let mut output = Output::new(format);
    let done = with_documents(&mut access, &mut output, command).await;
    // The storage is closed whatever happened; what happened first is what is told.
    let closed = access.close().await;
    done.and(output.flush()).and(closed)
}

async fn with_documents(access: &mut Access, output: &mut Output, command: Command) -> Result<(), Failure> {
    match command {
        Command::Import(arguments) => commands::import(access, output, arguments, &stop_signal()?).await,
        Command::Export { of, prefix, file } => {
            commands::export(access, output, of.collection, prefix, file, &stop_signal()?).await
        }
        Command::Put { of, id, value, binary } => {
            commands::put(access, of.collection, id, value, binary).await
        }
        Command::Get { of, id } => commands::get(access, output, of.collection, id).await,
        Command::Delete { of, id } => commands::delete(access, of.collection, id).await,
        Command::List { of, prefix, after, limit, ids } => {
            let listing = Listing { prefix, after, limit, ids };
            commands::list(access, output, of.collection, listing).await
        }
        Command::Conflicts { of } => commands::conflicts(access, output, of.collection).await,
        Command::Serve
        | Command::Invite(_)
        | Command::Join(_)
        | Command::Watch { .. }
        | Command::Status
        | Command::CatchUp => unreachable!("these do not open the storage"),
    }
}

/// Cancelled when the process is asked to end.
fn stop_signal() -> Result<CancellationToken, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::System)?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    Ok(stop)
}
