//! Peerloom over WebRTC on this machine's loopback, beside what it is made of: the bare data channel, and Peerloom in process.
//!
//! `cargo xtask bench webrtc`, or `cargo bench -p peerloom-webrtc --profile dev`. All figures of one run are taken in turns, on the
//! same runtime with two threads. They depend on the machine and on who else uses it.
//!
//! On two processors, what bounds replicas over WebRTC is the work of both halves: what Peerloom does in process, and what the bare
//! channel takes for the same bytes, each of which keeps more than one of them busy when it runs alone. So the processor time of
//! each is printed beside its rate, where the system tells it.

mod bare;
mod processor;
mod replicas;

use std::time::{Duration, Instant};

use peerloom::core::{Topic, Transport};
use peerloom::{InProcess, Network};
use peerloom_webrtc::{InProcessSignaling, Interfaces, Options, WebRtc};

use processor::{Clock, Span};

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 15;
const PINGS: usize = 2_000;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

fn options() -> Options {
    Options { interfaces: Interfaces::loopback(), ..Options::default() }
}

fn pair() -> [WebRtc; 2] {
    let signaling = InProcessSignaling::new();
    [(); 2].map(|()| WebRtc::with_options(signaling.clone(), options()))
}

async fn measure() -> anyhow::Result<()> {
    first_syncs().await?;
    latencies().await?;
    set_ups().await
}

async fn first_syncs() -> anyhow::Result<()> {
    let message_bytes = options().message_bytes_max;
    let source = replicas::filled(DOCUMENTS).await?;
    let (mut in_process, mut over_webrtc, mut bare, mut lines) = (vec![], vec![], vec![], vec![]);
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let network = Network::new();
        let ends = [InProcess::new(&network), InProcess::new(&network)];
        in_process.push(replicas::first_sync(&source, DOCUMENTS, ends).await?.0);
        let (took, sent) = replicas::first_sync(&source, DOCUMENTS, pair()).await?;
        over_webrtc.push(took);
        bytes = sent;
        bare.push(bare::throughput(message_bytes, bytes).await?);
        lines.push(line_throughput(message_bytes, bytes).await?);
    }
    println!("first sync of {DOCUMENTS} documents of 250 bytes, and as many bytes alone; median of {ROUNDS}");
    let rate = |took: Span| DOCUMENTS as f64 / took.wall.as_secs_f64();
    let print = |what: &str, rounds: &[Span]| {
        let took = Span::median(rounds);
        let processor = match took.processor {
            Some(time) => format!(", {:.0} ms of the processors", 1e3 * time.as_secs_f64()),
            None => String::new(),
        };
        println!("  {what:<35} {:>9.0} documents/s{processor}", rate(took));
        rate(took)
    };
    let in_process = print("in process", &in_process);
    let bare_channel = print("bare data channel", &bare);
    print("connection of this crate", &lines);
    let over_webrtc = print("over WebRTC", &over_webrtc);
    println!("  of the lower of the first two       {:>9.0} % (at least 70)", {
        100.0 * over_webrtc / in_process.min(bare_channel)
    });
    println!(
        "  {} bytes a document, {:.0} MB/s on the bare channel in messages of {message_bytes} bytes",
        bytes / DOCUMENTS,
        bytes as f64 / 1e6 / Span::median(&bare).wall.as_secs_f64()
    );
    Ok(())
}

async fn latencies() -> anyhow::Result<()> {
    let one_way = bare::round_trips(300, PINGS).await?.map(|trip| trip / 2);
    let live = replicas::live(PINGS, pair()).await?;
    println!("live latency of {PINGS} writes, p50 and p99");
    println!("  bare data channel, one way          {:>9.0?} {:>9.0?}", one_way[0], one_way[1]);
    println!(
        "  write to remote watch               {:>9.0?} {:>9.0?} (p50 at most {:.0?})",
        live[0],
        live[1],
        one_way[0].mul_f64(1.5) + Duration::from_micros(200)
    );
    Ok(())
}

async fn set_ups() -> anyhow::Result<()> {
    let (mut bare_open, mut accepted, mut documents) = (vec![], vec![], vec![]);
    for _ in 0..15 {
        bare_open.push(bare::open_time().await?.as_secs_f64());
        accepted.push(time_to_accept().await?.as_secs_f64());
        documents.push(replicas::first_document(pair()).await?.as_secs_f64());
    }
    println!("connection set-up, median and maximum of 15");
    for (what, times) in [
        ("bare crate with its defaults", bare_open),
        ("join to accepted connection", accepted),
        ("join to first document", documents),
    ] {
        let most = times.iter().copied().fold(0.0, f64::max);
        println!("  {what:<35} {:>9.0} ms {:>6.0} ms", 1e3 * median(times), 1e3 * most);
    }
    Ok(())
}

/// So many bytes through a connection of this crate.
async fn line_throughput(message_bytes: usize, bytes: usize) -> anyhow::Result<Span> {
    let topic = Topic::new("benchmark")?;
    let [left, right] = pair();
    let (mut left, mut right) = (left.join(&topic).await?, right.join(&topic).await?);
    let (left, right) = tokio::join!(left.accept(), right.accept());
    let (mut left, mut right) = (left?, right?);
    let messages = bytes / message_bytes;
    let clock = Clock::start();
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            left.sender.send(vec![7; message_bytes].into()).await?;
        }
        anyhow::Ok(left)
    });
    for _ in 0..messages {
        right.receiver.receive().await.ok_or_else(|| anyhow::anyhow!("the connection ended"))?;
    }
    let took = clock.elapsed();
    drop(sending.await??);
    Ok(took)
}

async fn time_to_accept() -> anyhow::Result<Duration> {
    let topic = Topic::new("benchmark")?;
    let [left, right] = pair();
    let mut left = left.join(&topic).await?;
    let started = Instant::now();
    let mut right = right.join(&topic).await?;
    let (left, right) = tokio::join!(left.accept(), right.accept());
    let time = started.elapsed();
    drop((left?, right?));
    Ok(time)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The middle one, and the one that one in a hundred exceeds.
pub(crate) fn p50_and_p99(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}
