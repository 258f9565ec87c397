//! Following the files of a run: its recording, and its log while it grows and nobody serves it.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::time::{Instant, sleep};

use super::{Ending, Follower, Item, Want};
use crate::client::ClientError;
use crate::event::{Event, EventType};
use crate::log::frame::Framing;
use crate::log::{Next, Selection, Source, TypeSet};
use crate::recordings::{RunDir, layout};

/// Time between two looks into the files of a run that goes on without a status API.
const FILE_INTERVAL: Duration = Duration::from_millis(200);

/// The same in lengths of the last look, which reads the whole log: a long one is looked at less often.
const FILE_READ_SHARE: u32 = 4;

/// Bytes that are read of a recording at a time.
const READ_BYTES: usize = 256 * 1024;

/// What tells the files of a log from themselves after more was written: which one is written, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    n_bytes: u64,
}

impl Stamp {
    /// None before there is a log.
    fn of(run: &RunDir) -> Result<Option<Self>, ClientError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        match run.open_beneath(layout::EVENTS, flags) {
            Ok(file) => {
                let metadata = file.metadata().map_err(ClientError::Log)?;
                Ok(Some(Self {
                    inode: metadata.ino(),
                    n_bytes: metadata.len(),
                }))
            }
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(ClientError::Recording(error)),
        }
    }
}

impl Follower<'_> {
    /// Gives what a run that goes on has added to its files, if they have changed since they were `seen`, and waits a while.
    pub(super) async fn read_what_was_added(
        &mut self,
        run: &RunDir,
        seen: &mut Option<Stamp>,
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> Result<Option<Ending>, ClientError> {
        let began = Instant::now();
        let now = Stamp::of(run)?;
        if now.is_some() && now != *seen {
            *seen = now;
            match self.read_recording(run, take).await? {
                Ending::WithoutEnd => {}
                ending @ (Ending::Terminal | Ending::Asked) => return Ok(Some(ending)),
            }
        }
        sleep(FILE_INTERVAL.max(began.elapsed() * FILE_READ_SHARE)).await;
        Ok(None)
    }

    pub(super) async fn read_recording(
        &mut self,
        run: &RunDir,
        take: &mut impl FnMut(Item<'_>) -> Want,
    ) -> Result<Ending, ClientError> {
        let (source, found) = Source::open_recorded(run.as_fd()).map_err(ClientError::Log)?;
        if self.epoch.is_some() && self.epoch != found.epoch {
            let to = last_kept(&source).await?;
            if to < self.after {
                self.after = to;
                if take(Item::Rewound { to }) == Want::Nothing {
                    return Ok(Ending::Asked);
                }
            }
        }
        let last = source.bounds().published_seq;
        if self.epoch.is_none() && self.after > last {
            let after = std::mem::take(&mut self.after);
            if take(Item::Beyond { after, last }) == Want::Nothing {
                return Ok(Ending::Asked);
            }
        }
        if self.epoch.is_some() && take(Item::FromRecording) == Want::Nothing {
            return Ok(Ending::Asked);
        }
        let types = if self.types.is_empty() {
            TypeSet::ALL
        } else {
            TypeSet::of(self.types.iter().copied())
        };
        let selection = Selection {
            framing: Framing::Ndjson,
            types,
        };
        let mut reader = source.reader(self.after, selection);
        while !reader.is_finished() {
            let want = match reader.read(READ_BYTES).await.map_err(ClientError::Log)? {
                None => break,
                Some(Next::Gap { from, to }) => {
                    self.after = to;
                    take(Item::Gap { from, to })
                }
                Some(Next::Frames(frames)) => {
                    let mut want = Want::More;
                    for line in frames.split(|byte| *byte == b'\n') {
                        if let Some(seq) = seq_of(line)
                            && want == Want::More
                        {
                            (want, _) = self.event(seq, line, take);
                        }
                    }
                    want
                }
            };
            if want == Want::Nothing {
                return Ok(Ending::Asked);
            }
        }
        Ok(if found.terminal_seq.is_some() {
            Ending::Terminal
        } else {
            Ending::WithoutEnd
        })
    }
}

/// The last event before the log was begun anew, as the last `log.opened` of a recording tells.
async fn last_kept(source: &Arc<Source>) -> Result<u64, ClientError> {
    let selection = Selection {
        framing: Framing::Ndjson,
        types: TypeSet::of([EventType::LogOpened]),
    };
    let mut reader = source.reader(0, selection);
    let mut last_kept = 0;
    while let Some(next) = reader.read(READ_BYTES).await.map_err(ClientError::Log)? {
        let Next::Frames(frames) = next else { continue };
        for line in frames.split(|byte| *byte == b'\n') {
            if let Ok(Event::LogOpened(opened)) = serde_json::from_slice(line) {
                last_kept = opened.first_seq.saturating_sub(1);
            }
        }
    }
    Ok(last_kept)
}

/// The number of an event, from its line.
pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..n_digits)?)
        .ok()?
        .parse()
        .ok()
}
