//! What comes from the sandbox unasked: the ends of launches, and its own end.
//!
//! Owns the reports that were taken before anybody could act on them. It decides nothing. Invariant: each report is given
//! once, in the order in which launches ended.

use std::io;
use std::os::fd::OwnedFd;

use stockade_sandbox::Report;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Workload;

impl Workload {
    /// Waits for the end of a launch, or takes one that was kept. Cancel safe.
    ///
    /// # Errors
    /// When the sandbox is gone; no report will come.
    pub async fn next_report(&mut self) -> io::Result<Report> {
        match self.kept.pop_front() {
            Some(report) => Ok(report),
            None => self.new_report().await,
        }
    }

    /// Waits for the end of a launch beyond those that are kept. Cancel safe.
    ///
    /// # Errors
    /// As [`Workload::next_report`].
    pub async fn new_report(&self) -> io::Result<Report> {
        let take = || {
            self.sandbox
                .try_report()?
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        };
        self.reports.async_io(Interest::READABLE, take).await
    }

    /// Keeps a report for the next who asks.
    pub fn keep_report(&mut self, report: Report) {
        self.kept.push_back(report);
    }

    /// Watches the launch helper, without which no sandbox lives on. A sandbox that is frozen cannot tell its own end, and in
    /// version 1 does not even come to it.
    ///
    /// # Errors
    /// When the kernel gives no descriptor of it.
    #[expect(
        deprecated,
        reason = "an OwnedFd is the same descriptor for as long as it lives; the new name asks for `unsafe` to say so"
    )]
    pub fn watch_helper(&self) -> io::Result<HelperWatch> {
        let process = self.helper.open_process()?;
        AsyncFd::with_interest(process, Interest::READABLE).map(HelperWatch)
    }
}

/// Watches the launch helper.
#[derive(Debug)]
pub struct HelperWatch(AsyncFd<OwnedFd>);

impl HelperWatch {
    /// Waits until the launch helper has ended. Cancel safe.
    pub async fn ended(&self) {
        // It fails when the runtime ends, and with it whoever waits.
        let _ = self.0.readable().await;
    }
}
