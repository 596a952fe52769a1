//! The program `peerloom-signaling`: the server with its settings, its logs and its signals.

mod settings;

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use peerloom_signaling::authentication::Authentication;
use peerloom_signaling::environment::SystemEnvironment;
use peerloom_signaling::rooms::{CONNECTION_BYTES, Limits};
use peerloom_signaling::server::{Server, ServerOptions};
use settings::{LogFormat, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// File descriptors that are not connections: standard streams, the listener, what the runtime needs.
const OTHER_FILES: u64 = 32;

fn main() -> anyhow::Result<()> {
    let settings = Settings::load()?;
    start_logging(&settings)?;
    let options = settings.server_options()?;
    warn_about(&options);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&settings, options))
}

async fn serve(settings: &Settings, options: ServerOptions) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    info!(address = %listener.local_addr()?, tls = options.tls.is_some(), "listening");
    Server::new(options, Arc::new(SystemEnvironment::new())).serve(listener, stop).await;
    info!("stopped");
    Ok(())
}

fn start_logging(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log).context("log filter")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// Says what an operator would rather know before than after.
fn warn_about(options: &ServerOptions) {
    if matches!(options.authentication, Authentication::None) {
        warn!(
            "NO AUTHENTICATION: anybody who reaches this server can join any room whose name they know, and is given \
             TURN credentials if there are any. Set a token or a key for signed tokens"
        );
    }
    let connections = connections_max(&options.rooms.limits);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) if files < connections + OTHER_FILES => warn!(
            open_files_max = files,
            connections_max = connections,
            "the limit on open files is lower than what memory_bytes_max allows for: raise it (ulimit -n, LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot tell how many files may be open"),
    }
}

fn connections_max(limits: &Limits) -> u64 {
    let each = CONNECTION_BYTES + limits.message_bytes_max.get();
    (limits.memory_bytes_max.get() / each).try_into().unwrap_or(u64::MAX)
}

/// Ready when the process is asked to end.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
