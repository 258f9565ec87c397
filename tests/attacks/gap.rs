//! What the tier `container` lets through, and what does not work there: each with the sentence of docs/sandbox.md that says so.
//!
//! Owns that list. Invariant: whatever is not in it is refused there, and every twin that is not in it works there.

use super::attempt::Attempt;

/// One of them.
struct Gap {
    /// Names of attempts, or of twins with a + at their end; a * at the end stands for any rest.
    names: &'static [&'static str],
    /// A part of the page that says so.
    words: &'static str,
}

const GAPS: &[Gap] = &[
    Gap {
        names: &["proc.see-victim"],
        words: "**Processes are listed**",
    },
    Gap {
        names: &["life.stop-first"],
        words: "**The init can be killed or stopped by the workload**",
    },
    Gap {
        names: &["fs.see-*"],
        words: "**Names and attributes of files** are not hidden",
    },
    Gap {
        names: &["fs.change-mode-read-only", "fs.change-times-read-only"],
        words: "**Attributes of files** that the workload's id owns can be changed anywhere",
    },
    Gap {
        names: &["net.status-socket", "net.path-socket", "net.linked-socket"],
        words: "**Unix sockets in the file system** whose permissions allow the workload's id",
    },
    Gap {
        names: &[
            "fs.give-to-root",
            "priv.become-root",
            "priv.become-root-group",
        ],
        words: "root's, without capabilities; `unprivileged-id` is missing",
    },
    Gap {
        names: &["priv.bounding-set"],
        words: "**The bounding set of capabilities**",
    },
    Gap {
        names: &["proc.timers", "proc.keys-of-others", "net.see-listener"],
        words: "**Tables of the kernel in `/proc`**",
    },
    Gap {
        names: &["resource.fork-bomb", "resource.thread-bomb"],
        words: "**Processes that fork without end**",
    },
    Gap {
        names: &["resource.inodes", "artifact.fill"],
        words: "**Size of the directories of the run** is looked at",
    },
    Gap {
        names: &[
            "net.*+",
            "kernel.*-socket*+",
            "kernel.device-events+",
            "kernel.generic-netlink+",
            "kernel.firewall+",
        ],
        words: "**No loopback**",
    },
    Gap {
        names: &["kernel.sockets-of-all+"],
        words: "`socket` of a family other than unix",
    },
    Gap {
        names: &["proc.slow-*+", "proc.bind-victim+", "proc.limit-*+"],
        words: "for another pid than 0, which is the caller",
    },
    Gap {
        names: &[
            "proc.offer-victim-to-kill+",
            "proc.system-request+",
            "resource.lower-score+",
        ],
        words: "**`/proc` cannot be written**",
    },
    Gap {
        names: &["resource.memory-that-stays+"],
        words: "memory, semaphores and queues of the container are not the workload's",
    },
    Gap {
        names: &["fs.read-shm-of-host+", "resource.fill-memory-disk+"],
        words: "**`/tmp` and `/dev/shm`**",
    },
    Gap {
        names: &["tty.*+"],
        words: "**Terminals**: where the id is one that others have",
    },
];

/// Whether that attempt, or twin, is a listed gap.
pub fn is_listed(name: &str) -> bool {
    GAPS.iter()
        .any(|gap| gap.names.iter().any(|pattern| fits(pattern, name)))
}

/// The words that the page lacks, and the names that no attempt has.
pub fn faults(page: &str, attempts: &[Attempt]) -> Vec<String> {
    let mut faults = Vec::new();
    for gap in GAPS {
        if !page.contains(gap.words) {
            faults.push(format!("docs/sandbox.md does not say: {}", gap.words));
        }
        for pattern in gap.names {
            let is_known = attempts
                .iter()
                .any(|attempt| fits(pattern, &attempt.id()) || fits(pattern, &attempt.twin_id()));
            if !is_known {
                faults.push(format!("no attempt has the name {pattern}"));
            }
        }
    }
    faults
}

/// Whether `name` is the pattern, in which * stands for anything; only twins fit one that ends with +.
fn fits(pattern: &str, name: &str) -> bool {
    if pattern.ends_with('+') != name.ends_with('+') {
        return false;
    }
    let mut rest = name;
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    let mut last = first;
    for part in parts {
        last = part;
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || last.is_empty()
}
