//! What somebody who watches the drive costs: rounds without and with a client that asks for `/metrics`, and for what the live page shows,
//! once a second. Both kinds alternate, so that what else happens on the machine meets both; each pair has a ratio, and their median counts.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Bar, Case, Options, Pair, Round, cases, median, round, start_with};

/// What a client may leave of the rate.
const RATE_WHILE_WATCHED: f64 = 0.98;
/// How often the page and Prometheus ask, and the shortest round: each round with a client has been asked in.
const INTERVAL: Duration = Duration::from_secs(1);
/// What the page and Prometheus ask for.
const PATHS: [&str; 2] = ["/metrics", "/state"];

/// A thread that asks while it is told to.
struct Client {
    asks: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Client {
    fn start(socket: PathBuf) -> Self {
        let (asks, ends, asked) = (Arc::default(), Arc::default(), Arc::default());
        let thread = thread::spawn({
            let (asks, ends, asked) = (Arc::clone(&asks), Arc::clone(&ends), Arc::clone(&asked));
            move || Self::run(&socket, &asks, &ends, &asked)
        });
        Self { asks, ends, asked, thread }
    }

    fn run(socket: &Path, asks: &AtomicBool, ends: &AtomicBool, asked: &AtomicU64) -> Result<()> {
        while !ends.load(Ordering::Acquire) {
            if asks.load(Ordering::Acquire) {
                for path in PATHS {
                    get(socket, path)?;
                }
                asked.fetch_add(1, Ordering::Release);
            }
            thread::park_timeout(INTERVAL);
        }
        Ok(())
    }

    /// Begins or ceases to ask; the first question is asked at once.
    fn ask(&self, now: bool) {
        self.asks.store(now, Ordering::Release);
        if now {
            self.thread.thread().unpark();
        }
    }

    fn stop(self) -> Result<u64> {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| anyhow!("the client panicked"))??;
        Ok(self.asked.load(Ordering::Acquire))
    }
}

/// One request, wholly read.
fn get(socket: &Path, path: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
    Ok(())
}

/// Rounds of one pair: without a client, and with one.
struct Both {
    without: Round,
    with: Round,
}

impl Both {
    fn ratio(&self) -> f64 {
        self.with.measured.rate() / self.without.measured.rate()
    }

    fn counts(&self) -> bool {
        self.without.counts() && self.with.counts()
    }
}

/// Runs it; whether a client leaves enough of the rate.
///
/// # Errors
/// The drive cannot be started, or fails.
pub fn run(options: &Options, pair: Pair) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("web.sock");
    // Before this thread takes its processor for itself: the client may run wherever there is room.
    let client = Client::start(socket.clone());
    let (daemon, mut host) = start_with(options, pair, None, Some(&socket))?;
    let depth = options.depth.unwrap_or(32);
    let case = cases(host.block_bytes()).into_iter();
    let case: Case = case
        .filter(|case| case.name.contains(&options.only))
        .find(|case| case.name.starts_with("random") && case.load.depth == depth)
        .context("no random load has that name and depth")?;
    let time = Duration::from_millis(options.milliseconds).max(INTERVAL);
    println!("{} at queue depth {depth}: {} pairs of rounds of {} ms", case.name, options.rounds, time.as_millis());
    let mut pairs = Vec::new();
    for number in 0..options.rounds {
        let mut measure = |asks: bool| {
            client.ask(asks);
            let measured = round(&mut host, &daemon, pair, &case.load, time);
            client.ask(false);
            measured
        };
        // What drifts meets both kinds in the same way.
        let both = if number % 2 == 0 {
            let without = measure(false)?;
            Both { without, with: measure(true)? }
        } else {
            let with = measure(true)?;
            Both { without: measure(false)?, with }
        };
        pairs.push(both);
    }
    drop(host);
    let asked = client.stop()?;
    daemon.stop()?;
    ensure!(asked >= u64::from(options.rounds), "the client asked {asked} times in {} rounds", options.rounds);
    Ok(judge(&case, &pairs, asked))
}

fn judge(case: &Case, pairs: &[Both], asked: u64) -> bool {
    let bar = Bar::AtLeast(RATE_WHILE_WATCHED);
    let shown = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"));
    let ratios = |all: bool| median(pairs.iter().filter(|both| all || both.counts()).map(Both::ratio).collect());
    let rate = |of: fn(&Both) -> &Round| median(pairs.iter().map(|both| case.number(&of(both).measured)).collect());
    println!(
        "median rates: {} {unit} without a client, {} {unit} with one, which asked {asked} times",
        shown(rate(|both| &both.without)),
        shown(rate(|both| &both.with)),
        unit = case.unit()
    );
    let counting = pairs.iter().filter(|both| both.counts()).count();
    println!("median ratio of all {} pairs: {}", pairs.len(), shown(ratios(true)));
    let verdict = bar.judge(ratios(false));
    println!("median ratio of the {counting} that count: {}, {bar}: {verdict}", shown(ratios(false)));
    verdict.is_success()
}
