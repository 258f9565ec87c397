//! The egress proxy of one command: the rules of `--net allow` without a supervisor.
//!
//! Owns its thread, which is begun when the sandbox stands and ends behind it. There is no record, so what is denied, or
//! fails, is said on stderr: the first connection of a kind at once, the others by their number.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use stockade_sandbox::Sandbox;
use tokio_util::sync::CancellationToken;

use crate::cli::notice;
use crate::description::RunDescription;
use crate::egress::resolver::Resolver;
use crate::egress::{Egress, Policy, Record};
use crate::event::{Network, NetworkDecision};
use crate::supervisor::descriptors::Descriptors;
use crate::supervisor::egress;

/// A proxy that serves; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts it, if the description has rules. Everything that this process gives birth to is born.
    ///
    /// # Errors
    /// When the sandbox handed no listener over, or there is no thread or runtime to serve it.
    pub(super) fn begin(
        description: &RunDescription,
        sandbox: &Sandbox,
    ) -> io::Result<Option<Self>> {
        let Some(policy) = egress::policy(description) else {
            return Ok(None);
        };
        let listener = sandbox
            .listener()
            .ok_or_else(|| io::Error::other("the sandbox gave no listener"))?
            .try_clone_to_owned()?;
        let listener = TcpListener::from(listener);
        let address = listener.local_addr()?;
        Descriptors::of_this_process(1, egress::descriptors(description)).raise();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let end = CancellationToken::new();
        let is_over = end.clone();
        let serving = async move {
            match serve(listener, policy, is_over).await {
                Ok(()) => {}
                Err(error) => {
                    notice::error(&format!("the egress proxy cannot be started: {error}"))
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("egress".to_owned())
            .spawn(move || runtime.block_on(serving))?;
        Ok(Some(Self {
            address,
            end,
            thread: Some(thread),
        }))
    }

    /// Where the command finds it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, policy: Policy, end: CancellationToken) -> io::Result<()> {
    let record = Record::Witness(tell);
    let egress = Egress::start(listener.into(), policy, Resolver::default(), None, record)?;
    end.cancelled().await;
    egress.end().await;
    Ok(())
}

/// One line for each kind of connection that was not made, within a window of some seconds.
fn tell(network: &Network) {
    let word = match network.decision {
        NetworkDecision::Allow => return,
        NetworkDecision::Deny => "denied",
        NetworkDecision::Error => "failed",
    };
    let times = match network.count {
        0 => return,
        1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let reason = network.reason.as_deref().unwrap_or("several reasons");
    let target = network.target();
    notice::error(&format!("network {word}: {target}: {reason}{times}"));
}
