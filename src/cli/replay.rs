//! `stockade replay [TARGET]`: plays a recording, as it was seen or as lines of the log.
//!
//! Owns the waits and the end: a signal ends it between two pieces, and a terminal is left as a shell needs it. The terminal
//! recording goes to the terminal as it is, control sequences included, as every player does; lines of the log are made
//! harmless.

use std::fs::File;
use std::io::{BufReader, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc::{SIGHUP, SIGINT, SIGTERM};

use super::notice;
use super::place::Place;
use super::reach::{block_on, colours, fail};
use super::results::Results;
use crate::cast::EntryKind;
use crate::cast::pace::Pace;
use crate::cast::reader::CastReader;
use crate::event::Event;
use crate::log::{Millis, Next, Selection, Source};
use crate::progress::line::{Detail, OutputForm, Teller};
use crate::recordings::{RunDir, layout};
use crate::session::workload::chain;
use crate::text::measure;

/// How often a wait looks whether it is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of the log that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Ends what a program may have left: another screen, a hidden cursor, a region that scrolls, colours, mouse reports.
const TERMINAL_AS_BEFORE: &str =
    "\u{1b}[?1049l\u{1b}[?25h\u{1b}[r\u{1b}[?1000;1002;1003;1006;2004l\u{1b}[0m\r\n";

/// Which run, and how it is played.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The run: latest, a run id or a run's directory
    #[arg(value_name = "TARGET", default_value = "latest")]
    target: String,

    #[command(flatten)]
    place: Place,

    /// Play N times as fast as it happened
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: f64,

    /// Wait at most so long between two pieces; 0 shows all at once
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = max_wait)]
    max_wait: Duration,

    /// Begin with this action
    #[arg(long, value_name = "N", value_parser = step)]
    from_step: Option<u64>,

    /// Play the lines of the log, made harmless, and not what was seen
    #[arg(long)]
    log: bool,
}

fn step(text: &str) -> Result<u64, String> {
    let step = text.parse().ok().filter(|step| *step > 0);
    step.ok_or_else(|| "give the number of a step, from 1".to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text
        .parse()
        .ok()
        .filter(|speed| (0.01..=1_000.0).contains(speed));
    speed.ok_or_else(|| "give a number from 0.01 to 1000".to_owned())
}

fn max_wait(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "give seconds from 0 to 86400".to_owned())
}

/// Why playing ended before the end.
enum Stopped {
    /// A signal asked for it.
    Signal(usize),
    /// Nobody takes any more.
    Unwritten,
    /// There is nothing to play.
    Failed(String),
}

/// Plays one recording.
struct Player {
    pace: Pace,
    from_step: u64,
    /// The last step that was passed over.
    last_step: u64,
    signal: Arc<AtomicUsize>,
    results: Results,
}

/// Plays a run: 0 at its end, 128 + n when signal n ended it, 125 when there is nothing to play.
pub fn main(arguments: &Arguments) -> ExitCode {
    let run = match arguments.place.recording(&arguments.target) {
        Ok(run) => run,
        Err(error) => return fail(&error, None),
    };
    let signal = Arc::new(AtomicUsize::new(0));
    for signo in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signo).unwrap_or_default();
        if let Err(error) = signal_hook::flag::register_usize(signo, Arc::clone(&signal), number) {
            return fail(&format!("cannot take signals: {error}"), None);
        }
    }
    let mut player = Player {
        pace: Pace::new(arguments.speed, arguments.max_wait),
        from_step: arguments.from_step.unwrap_or(0),
        last_step: 0,
        signal,
        results: Results::stdout(),
    };
    let cast = match open_cast(&run, arguments.log) {
        Ok(cast) => cast,
        Err(error) => return fail(&error, None),
    };
    let played = match cast {
        Some(cast) => player.cast(cast),
        None => player.log(&run),
    };
    player.results.end(match played {
        Ok(()) | Err(Stopped::Unwritten) => ExitCode::SUCCESS,
        Err(Stopped::Signal(signo)) => ExitCode::from(u8::try_from(128 + signo).unwrap_or(u8::MAX)),
        Err(Stopped::Failed(error)) => fail(&error, None),
    })
}

/// The terminal recording; none when there is none, or the log is wanted.
fn open_cast(run: &RunDir, wants_log: bool) -> Result<Option<File>, String> {
    let there = run.contains(layout::TERMINAL_CAST);
    if wants_log || !there.map_err(|error| chain(&error))? {
        return Ok(None);
    }
    // Without waiting, should somebody have put a pipe there.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let file = run.open_beneath(layout::TERMINAL_CAST, flags);
    file.map(Some).map_err(|error| chain(&error))
}

impl Player {
    fn cast(&mut self, file: File) -> Result<(), Stopped> {
        let failed = |error: crate::cast::reader::CastError| Stopped::Failed(chain(&error));
        let (_, mut reader) = CastReader::open(BufReader::new(file)).map_err(failed)?;
        let is_terminal = std::io::stdout().is_terminal();
        let played = loop {
            let entry = match reader.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break self.all_was_played(),
                Err(error) => break Err(failed(error)),
            };
            if self.from_step > 0 {
                let marked = (entry.kind == EntryKind::Marker)
                    .then(|| step_of(&entry.text))
                    .flatten();
                self.last_step = self.last_step.max(marked.unwrap_or(0));
                if marked >= Some(self.from_step) {
                    self.from_step = 0;
                    self.pace.wait_before(entry.at);
                }
                continue;
            }
            if entry.kind != EntryKind::Output {
                continue;
            }
            if let Err(stopped) = self.wait(entry.at) {
                break Err(stopped);
            }
            if !(self.results.bytes(&entry.text) && self.results.flush()) {
                break Err(Stopped::Unwritten);
            }
        };
        if is_terminal {
            self.results.bytes(TERMINAL_AS_BEFORE);
        }
        if reader.n_passed_over > 0 {
            notice::error(&format!(
                "{} lines of the terminal recording were passed over: they are no entries",
                reader.n_passed_over
            ));
        }
        played
    }

    fn log(&mut self, run: &RunDir) -> Result<(), Stopped> {
        let failed =
            |error: std::io::Error| Stopped::Failed(format!("cannot read the log: {error}"));
        let (source, found) = Source::open_recorded(run.as_fd()).map_err(failed)?;
        if found.n_events == 0 {
            let path = run.path().display();
            let message = format!("{path} has no events to play; stockade show tells what it has");
            return Err(Stopped::Failed(message));
        }
        if found.n_bad_lines > 0 {
            let lines = measure::count(found.n_bad_lines, "bad line");
            notice::error(&format!(
                "the log has {lines}; what can be read is played, stockade verify tells more"
            ));
        }
        let mut reader = source.reader(0, Selection::NDJSON);
        let form = OutputForm::Barred;
        let mut teller = Teller::new(colours(), Detail::Full, form, form);
        let played = block_on(async {
            while !reader.is_finished() {
                match reader.read(READ_BYTES).await.map_err(failed)? {
                    Some(Next::Frames(lines)) => {
                        for line in lines.split(|byte| *byte == b'\n') {
                            self.line(&mut teller, line)?;
                        }
                    }
                    Some(Next::Gap { from, to }) => {
                        notice::error(&format!("events {from} to {to} are lost"));
                    }
                    None => break,
                }
            }
            self.all_was_played()
        });
        teller.finish(&mut |text| {
            self.results.line(text);
        });
        played.map_err(Stopped::Failed).flatten()
    }

    fn line(&mut self, teller: &mut Teller, line: &[u8]) -> Result<(), Stopped> {
        #[derive(serde::Deserialize)]
        struct Stamp {
            ts: String,
        }
        let (Ok(Stamp { ts }), Ok(event)) = (
            serde_json::from_slice(line),
            serde_json::from_slice::<Event>(line),
        ) else {
            return Ok(());
        };
        let at = Millis::parse(&ts).and_then(|at| u64::try_from(at.0).ok());
        let at = Duration::from_millis(at.unwrap_or_default());
        if self.from_step > 0 {
            let step = if let Event::ActionStarted(started) = &event {
                Some(started.step)
            } else if let Event::Action(action) = &event {
                Some(action.step)
            } else {
                None
            };
            self.last_step = self.last_step.max(step.unwrap_or(0));
            if step < Some(self.from_step) {
                return Ok(());
            }
            self.from_step = 0;
            self.pace.wait_before(at);
        }
        self.wait(at)?;
        let mut is_taken = true;
        let results = &mut self.results;
        teller.tell(&ts, &event, &mut |text| is_taken &= results.line(text));
        if is_taken {
            Ok(())
        } else {
            Err(Stopped::Unwritten)
        }
    }

    /// Waits as the recording did.
    fn wait(&mut self, at: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + self.pace.wait_before(at);
        loop {
            match self.signal.load(Ordering::Relaxed) {
                0 => {}
                signo => return Err(Stopped::Signal(signo)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(left.min(LOOK_INTERVAL));
        }
    }

    /// The end of the recording, at which the step to begin with must have come.
    fn all_was_played(&self) -> Result<(), Stopped> {
        match self.from_step {
            0 => Ok(()),
            step => {
                let remedy = match self.last_step {
                    0 => "it has none; leave --from-step out".to_owned(),
                    last => format!("give a step from 1 to {last}"),
                };
                let message = format!("the recording has no step {step}; {remedy}");
                Err(Stopped::Failed(message))
            }
        }
    }
}

/// The step that a marker names.
fn step_of(label: &str) -> Option<u64> {
    let (step, _) = label.strip_prefix("step ")?.split_once(':')?;
    step.parse().ok()
}
