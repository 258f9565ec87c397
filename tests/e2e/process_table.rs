//! Looks at /proc from outside: which processes belong to a run, and what is known of one.

use std::path::Path;

/// What `/proc/PID/stat` says of a process that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    /// One letter, as in proc_pid_stat(5).
    pub state: char,
}

/// All processes of the host.
pub fn all() -> Vec<Process> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// One process; none when it is gone.
pub fn read(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, end) = (stat.find('(')?, stat.rfind(") ")?);
    let mut fields = stat[end + 2..].split(' ');
    Some(Process {
        pid,
        name: stat[start + 1..end].to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

/// The children of a process, zombies included.
pub fn children(parent: i32) -> Vec<Process> {
    let mut children = all();
    children.retain(|process| process.parent == parent);
    children
}

/// The first live child, once there is one.
pub fn live_child(parent: i32) -> Option<i32> {
    children(parent)
        .into_iter()
        .find(|child| child.state != 'Z')
        .map(|child| child.pid)
}

/// The live child that is the init of a pid namespace, once there is one. The launch helper has another child for a moment,
/// which holds a user namespace while binds are mapped.
pub fn namespace_init(parent: i32) -> Option<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    children(parent)
        .into_iter()
        .filter(|child| child.state != 'Z')
        // Its name is set early, and the link is not to be read by everybody once it is not dumpable.
        .find(|child| {
            child.name == "stockade-init"
                || namespace(&child.pid.to_string())
                    .is_some_and(|link| Some(link) != namespace("self"))
        })
        .map(|child| child.pid)
}

/// Ends a guardian, and by that its run, when the test that started it fails.
pub struct KillOnPanic(pub i32);

impl Drop for KillOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::harness::run::kill(self.0, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Every process of the run that has its files in `directory`: its path stands in the command line, is the working
/// directory, or is mounted in the process's own mount namespace. One of the three is true for guardian, supervisor, launch
/// helper, in-sandbox init and everything below, whoever is the parent.
pub fn of_run(directory: &Path) -> Vec<String> {
    let needle = directory.to_str().unwrap();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    all()
        .into_iter()
        .filter(|process| process.pid != i32::try_from(std::process::id()).unwrap())
        .filter(|process| {
            let file = |name: &str| format!("/proc/{}/{name}", process.pid);
            let text = |name: &str| std::fs::read(file(name)).unwrap_or_default();
            let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(needle);
            let is_inside = std::fs::read_link(file("ns/mnt")).is_ok_and(|link| link != own);
            has(&text("cmdline"))
                || std::fs::read_link(file("cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
                || (is_inside && has(&text("mountinfo")))
        })
        .map(|process| format!("{process:?}"))
        .collect()
}

/// A number in kB out of `/proc/PID/status`, in bytes.
pub fn memory(pid: i32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
