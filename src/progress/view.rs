//! The task that shows a run while it goes on: the live view, or lines for people.
//!
//! Owns the cursor, the frames and the end. It reads the action log as any other reader, so output is shown in the order of
//! the log and complete; where a terminal is too slow by [`MAX_LAG_BYTES`], output is passed over and that is said.
//! Memory is bounded by one read and one frame.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clean;
use super::held::HeldLines;
use super::line::{Detail, Teller, ending, survivors};
use super::mode::{Display, Shown};
use super::paint::{Colours, Tone};
use super::rows::Rows;
use super::screen::{Row, Screen};
use super::state::{Bounds, State};
use super::terminal::Terminal;
use crate::event::{Event, EventType};
use crate::log::{Framing, Next, Reader, Selection, Source, TypeSet};
use crate::session::console::has_foreground;

/// Least time between two frames while nothing has to be caught up with: 20 frames a second.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(50);

/// Longest time between two frames: the clock goes on.
pub const CLOCK_INTERVAL: Duration = Duration::from_millis(250);

/// The rows below the output come after so long; a short run has none, and does not flicker.
pub const FIRST_ROWS_DELAY: Duration = Duration::from_millis(200);

/// Bytes of the log that one frame shows at most.
pub const FRAME_BYTES: usize = 64 * 1024;

/// Bytes of the log that the view may be behind; output beyond is passed over. They wait in the log and take no memory here:
/// the limit is for the person, who wants to see what is going on now.
pub const MAX_LAG_BYTES: u64 = 4 << 20;

/// The same at the end of a run that somebody stopped, and who waits for the prompt.
pub const MAX_STOPPED_LAG_BYTES: u64 = 512 * 1024;

/// Lines beside output that passing over shows at most; of more, the last ones.
const MAX_PASSED_LINES: usize = 1_000;

/// At the end: longest time in which the terminal takes no byte.
pub const STALL_LIMIT: Duration = Duration::from_secs(2);

/// At the end: longest time to show what is left; what is left then is passed over. The rest of [`END_LIMIT`] is for the
/// frame that is on its way, and for the last lines.
pub const CATCH_UP_LIMIT: Duration = Duration::from_secs(4);

/// At the end: longest time in all.
pub const END_LIMIT: Duration = Duration::from_secs(11);

/// A clock that stood still for so long means that this process was stopped, and that somebody else had the terminal.
const STANDSTILL: Duration = Duration::from_secs(2);

/// What the view has to know.
#[derive(Debug)]
pub struct Setting {
    /// What is shown.
    pub display: Display,
    /// The bounds of the run.
    pub bounds: Bounds,
    /// When it began.
    pub began: Instant,
    /// The run's directory, for the last line.
    pub path: PathBuf,
    /// Who hears how many rows stand on the terminal.
    pub rows: Rows,
}

/// How often a run in the background looks whether it has the terminal again: no signal says so.
const BACKGROUND_INTERVAL: Duration = Duration::from_millis(100);

/// A view that runs.
#[derive(Debug)]
pub struct View {
    task: JoinHandle<Left>,
    end: CancellationToken,
    is_hurried: CancellationToken,
    held: HeldLines,
}

/// Whether whoever watches waits for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// The run ended by itself: its output is shown as far as the limits go.
    None,
    /// Somebody stopped it: output beyond [`MAX_STOPPED_LAG_BYTES`] is passed over at once.
    Stopped,
}

/// How the task left the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It takes what is written.
    Usable,
    /// It is gone or held: whoever writes to it waits.
    Stuck,
}

/// Starts the view, where there is one. `held` are the log lines of this process.
///
/// # Errors
/// When the terminal cannot be taken.
pub fn start(
    setting: Setting,
    source: &Arc<Source>,
    held: HeldLines,
    tracker: &TaskTracker,
) -> io::Result<Option<View>> {
    let detail = match setting.display.shown {
        Shown::Log | Shown::None => return Ok(None),
        Shown::Live => {
            held.hold();
            Detail::Past
        }
        Shown::Plain => Detail::Full,
    };
    let display = setting.display;
    let end = CancellationToken::new();
    let is_hurried = CancellationToken::new();
    let shower = Shower {
        terminal: Terminal::stderr()?,
        reader: source.reader(0, Selection::NDJSON),
        source: Arc::clone(source),
        teller: Teller::new(display.colours, detail, display.stdout, display.stderr),
        state: State::new(setting.bounds, setting.began),
        screen: Screen::new(display.colours),
        rows: setting.rows,
        shown: display.shown,
        colours: display.colours,
        path: setting.path,
        rows_from: Instant::now() + FIRST_ROWS_DELAY,
        last_seen: Instant::now(),
        held: held.clone(),
        end: end.clone(),
        is_hurried: is_hurried.clone(),
    };
    let task = tracker.spawn(shower.show());
    Ok(Some(View {
        task,
        end,
        is_hurried,
        held,
    }))
}

impl View {
    /// Shows what is left and the last line; takes at most [`END_LIMIT`]. Afterwards log lines go to stderr directly, unless
    /// the terminal takes none.
    pub async fn finish(self, haste: Haste) {
        match haste {
            Haste::None => {}
            Haste::Stopped => self.is_hurried.cancel(),
        }
        self.end.cancel();
        // A terminal that is held keeps the thread that writes to it, and nobody waits for that one.
        let abort = self.task.abort_handle();
        match timeout(END_LIMIT, self.task).await {
            Ok(Ok(Left::Usable)) => {
                for line in self.held.release() {
                    crate::cli::notice::line(&clean::plain(&line));
                }
            }
            // Log lines go on being held: they would wait for the terminal, and the end of the run with them.
            Ok(Ok(Left::Stuck) | Err(_)) => {}
            Err(_) => abort.abort(),
        }
    }
}

/// Whether more waits to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    None,
    Some,
}

struct Shower {
    terminal: Terminal,
    reader: Reader,
    source: Arc<Source>,
    teller: Teller,
    state: State,
    screen: Screen,
    rows: Rows,
    shown: Shown,
    colours: Colours,
    path: PathBuf,
    rows_from: Instant,
    last_seen: Instant,
    held: HeldLines,
    end: CancellationToken,
    is_hurried: CancellationToken,
}

impl Shower {
    /// Ends behind the terminal event, when it is told to, or when nobody can be shown anything.
    async fn show(mut self) -> Left {
        match self.show_all().await {
            Ok(()) => Left::Usable,
            Err(_) => Left::Stuck,
        }
    }

    async fn show_all(&mut self) -> io::Result<()> {
        let mut above = Vec::new();
        let mut catch_up_until = None;
        loop {
            // A job in the background leaves the terminal to the shell; its cursor waits, and nothing is lost.
            while self.shown == Shown::Live && !has_foreground() && !self.end.is_cancelled() {
                tokio::time::sleep(BACKGROUND_INTERVAL).await;
            }
            if self.end.is_cancelled() {
                let until = *catch_up_until.get_or_insert_with(|| Instant::now() + CATCH_UP_LIMIT);
                if Instant::now() > until || self.is_behind(self.max_lag_at_the_end()) {
                    self.pass_over(self.source.bounds().published_seq, &mut above)
                        .await?;
                }
            }
            let backlog = self.gather(&mut above).await?;
            above.extend(self.held.drain().iter().map(|line| clean::plain(line)));
            if self.reader.is_finished() || (self.end.is_cancelled() && backlog == Backlog::None) {
                self.say_the_end(&mut above);
                let frame = self.frame(&above, &[]);
                return self.put(frame).await;
            }
            self.draw(&mut above).await?;
            if backlog == Backlog::None {
                self.rest().await;
            }
        }
    }

    /// Waits until there is something new to show, and never shows more often than [`FRAME_INTERVAL`] allows.
    async fn rest(&mut self) {
        let drawn_at = Instant::now();
        let clock = match self.shown {
            Shown::Live => CLOCK_INTERVAL,
            Shown::Plain | Shown::Log | Shown::None => Duration::from_secs(1),
        };
        tokio::select! {
            _ = self.reader.wait() => {}
            () = sleep_until(drawn_at + clock) => {}
            () = self.end.cancelled() => return,
        }
        tokio::select! {
            () = sleep_until(drawn_at + FRAME_INTERVAL) => {}
            () = self.end.cancelled() => {}
        }
    }

    /// Reads one frame's worth of events.
    async fn gather(&mut self, above: &mut Vec<String>) -> io::Result<Backlog> {
        let published = self.source.bounds().published_seq;
        if self.is_behind(MAX_LAG_BYTES) {
            self.pass_over(published, above).await?;
        }
        match self.reader.read(FRAME_BYTES).await? {
            None => Ok(Backlog::None),
            Some(Next::Gap { from, to }) => {
                above.push(self.warning(&format!("events {from} to {to} are lost")));
                Ok(Backlog::Some)
            }
            Some(Next::Frames(frames)) => {
                self.tell(&frames, above);
                Ok(
                    if self.source.bounds().published_seq > self.reader.after() {
                        Backlog::Some
                    } else {
                        Backlog::None
                    },
                )
            }
        }
    }

    /// Whether more than `max_bytes` of the log wait to be shown.
    fn is_behind(&self, max_bytes: u64) -> bool {
        let after = self.reader.after();
        self.source.bounds().published_seq > after && self.source.bytes_from(after + 1) > max_bytes
    }

    fn max_lag_at_the_end(&self) -> u64 {
        if self.is_hurried.is_cancelled() {
            MAX_STOPPED_LAG_BYTES
        } else {
            MAX_LAG_BYTES
        }
    }

    /// Moves the cursor to `to`. What happened up to there is told, but for output.
    async fn pass_over(&mut self, to: u64, above: &mut Vec<String>) -> io::Result<()> {
        if self.reader.after() >= to {
            return Ok(());
        }
        let from = self.reader.after() + 1;
        let types = EventType::ALL
            .into_iter()
            .filter(|t| !matches!(t, EventType::ActionOutput | EventType::ServiceOutput));
        let selection = Selection {
            framing: Framing::Ndjson,
            types: TypeSet::of(types),
        };
        let mut n_left_out = 0;
        let mut facts = self.source.reader(self.reader.after(), selection);
        while facts.after() < to {
            match facts.read(FRAME_BYTES).await? {
                None => break,
                Some(Next::Frames(frames)) => self.tell(&frames, above),
                Some(Next::Gap { .. }) => {}
            }
            let n_surplus = above.len().saturating_sub(MAX_PASSED_LINES);
            n_left_out += above.drain(..n_surplus).count();
        }
        let others = match n_left_out {
            0 => String::new(),
            n_left_out => format!(", with {n_left_out} other lines,"),
        };
        above.push(self.warning(&format!(
            "output was too fast for this terminal: that of the events {from} to {}{others} is in {} only",
            facts.after(),
            self.path.display()
        )));
        self.reader = self.source.reader(facts.after(), Selection::NDJSON);
        Ok(())
    }

    fn tell(&mut self, lines: &[u8], above: &mut Vec<String>) {
        #[derive(serde::Deserialize)]
        struct Stamp<'a> {
            #[serde(borrow)]
            ts: std::borrow::Cow<'a, str>,
        }
        let now = Instant::now();
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            // Written by this very build.
            let (Ok(event), Ok(stamp)) = (
                serde_json::from_slice::<Event>(line),
                serde_json::from_slice::<Stamp<'_>>(line),
            ) else {
                continue;
            };
            self.state.note(&event, now);
            self.teller
                .tell(&stamp.ts, &event, &mut |line| above.push(line));
        }
    }

    async fn draw(&mut self, above: &mut Vec<String>) -> io::Result<()> {
        let now = Instant::now();
        if now.saturating_duration_since(self.last_seen) > STANDSTILL {
            self.screen.forget();
        }
        self.last_seen = now;
        let rows = match self.shown {
            Shown::Live if now < self.rows_from => Vec::new(),
            Shown::Live if !self.terminal.is_ours() => {
                // Behind a shell that has the terminal there is no place for rows, and none to come back to.
                self.screen.forget();
                Vec::new()
            }
            Shown::Live => self.state.rows(&self.teller.open_line(), now),
            Shown::Plain | Shown::Log | Shown::None => Vec::new(),
        };
        let frame = self.frame(above, &rows);
        above.clear();
        self.put(frame).await
    }

    fn frame(&mut self, above: &[String], rows: &[Row]) -> String {
        match self.shown {
            Shown::Live => self.screen.frame(above, rows, self.terminal.size()),
            Shown::Plain | Shown::Log | Shown::None => above
                .iter()
                .flat_map(|line| [line.as_str(), "\n"])
                .collect(),
        }
    }

    /// Writes a frame. While the run goes on, a terminal may take as long as it wants.
    async fn put(&mut self, frame: String) -> io::Result<()> {
        let n_rows = self.screen.n_rows();
        self.rows.before_frame(n_rows);
        if frame.is_empty() {
            return Ok(());
        }
        let mut written = self.terminal.write(frame).await?;
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = (self.terminal.n_taken(), Instant::now());
        loop {
            tokio::select! {
                written = &mut written => {
                    let written = written.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
                    if written.is_ok() {
                        self.rows.after_frame(n_rows);
                    }
                    return written;
                }
                // The clock is looked at meanwhile, so that a held terminal is told from a stopped process.
                _ = seconds.tick() => self.last_seen = Instant::now(),
            }
            let n_taken = self.terminal.n_taken();
            if n_taken != taken.0 || !self.end.is_cancelled() {
                taken = (n_taken, Instant::now());
            } else if taken.1.elapsed() > STALL_LIMIT {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn say_the_end(&mut self, above: &mut Vec<String>) {
        self.teller.finish(&mut |line| above.push(line));
        if let Some(end) = self.state.end() {
            if self.shown == Shown::Live {
                above.push(ending(end, self.colours));
            }
            above.extend(survivors(&end.survivors).map(|text| self.warning(&text)));
        }
        let path = self.path.display().to_string();
        above.push(
            self.colours
                .paint(Tone::Quiet, &format!("recorded in {}", clean::plain(&path))),
        );
    }

    fn warning(&self, text: &str) -> String {
        self.colours.paint(Tone::Warning, &clean::plain(text))
    }
}
