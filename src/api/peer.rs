//! Who is at the other end of a Unix socket: somebody beside the supervisor, or a workload.
//!
//! Owns one question and its answer. A socket is as open as its file, and in the tier `container` a workload may have its
//! owner's id: it then reaches the sockets of other runs. What tells it apart is the filter of system calls that every such
//! workload has, and nobody loses (seccomp(2)). Invariant: who cannot be looked at is taken for a workload.

use tokio::net::UnixStream;

/// The line of `/proc/PID/status` that counts the filters of a process (proc(5), since Linux 5.9).
const FILTERS: &str = "Seccomp_filters:";

/// Whether the peer is confined by more filters than this process. A peer outside of the pid namespace of this process is
/// none of its host's workloads.
pub(super) fn is_confined(stream: &UnixStream) -> bool {
    let Ok(credentials) = stream.peer_cred() else {
        return true;
    };
    match credentials.pid() {
        None | Some(0) => false,
        Some(pid) => match (filters(&format!("{pid}")), filters("self")) {
            (Some(theirs), Some(ours)) => theirs > ours,
            // Without any count there is no tier `container` either, which needs a newer kernel.
            (_, None) => false,
            (None, Some(_)) => true,
        },
    }
}

fn filters(process: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix(FILTERS))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_process_is_not_confined_and_one_that_is_gone_is() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert!(!is_confined(&here));
        assert!(filters("self").is_some());
        assert_eq!(filters("4194304"), None);
    }
}
