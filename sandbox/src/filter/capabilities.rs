//! What the filter denies beyond the table where a workload may make user namespaces.
//!
//! Owns the rows that keep it from giving a file capabilities. In a user namespace of its own it may do so, for its own id
//! alone; through an id-mapped mount, or where that id is the host's root, they would count for everybody on the host. No
//! preset lifts them: `security.capability` is a name in memory, which a filter cannot tell from others.

use super::denial::{Call, CallGroup, Denial};
use super::table::{calls, name_of, number_of};
use nix::errno::Errno;
use nix::libc;

const SETTING: &[Call] = calls![SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, setxattrat = 463,];

const DENIED: &[Denial] = &[Denial {
    group: CallGroup::Namespaces,
    calls: SETTING,
    checks: &[],
    when: "",
    // As on a file system without extended attributes, which programs do without.
    answer: Errno::EOPNOTSUPP,
    reason: "with a user namespace of its own a workload could leave a file with capabilities on the host",
}];

/// The rows for a policy that allows these groups.
pub(crate) fn file_capabilities(allowed: &[CallGroup]) -> &'static [Denial] {
    match allowed.contains(&CallGroup::Namespaces) {
        true => DENIED,
        false => &[],
    }
}
