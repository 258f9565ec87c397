//! What the command sees: places, ids, limits and network, by flags and by a policy file.

use std::fs;
use std::path::Path;

use super::{output, output_in, text};

const NO_FLAGS: [&str; 0] = [];

#[test]
fn the_current_directory_is_the_workspace_and_all_that_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let script = "pwd; echo new > made; (echo x > /usr/x) 2>/dev/null || echo refused; ls /root 2>/dev/null || echo hidden";
    let output = output_in(directory.path(), &NO_FLAGS, &["sh", "-c", script]);
    let expected = format!("{}\nrefused\nhidden\n", directory.path().display());
    assert_eq!(text(&output), expected);
    assert_eq!(
        fs::read_to_string(directory.path().join("made")).unwrap(),
        "new\n"
    );
    let flags = ["--workspace-mode", "read-only"];
    let output = output_in(directory.path(), &flags, &["sh", "-c", "echo x > made"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(
        fs::read_to_string(directory.path().join("made")).unwrap(),
        "new\n"
    );
}

#[test]
fn places_are_shown_read_only_writable_and_in_memory() {
    let host = tempfile::tempdir().unwrap();
    for name in ["in", "out", "work"] {
        fs::create_dir(host.path().join(name)).unwrap();
    }
    fs::write(host.path().join("in/file"), "given\n").unwrap();
    let of = |name: &str, target: &str| format!("{}:{target}", host.path().join(name).display());
    let flags = [
        "--workspace",
        host.path().join("work").to_str().unwrap(),
        "--tmpfs",
        "/data:1MiB",
        "--ro",
        &of("in", "/data/in"),
        "--rw",
        &of("out", "/data/in-memory/out"),
        "--tmpfs",
        "/data/in-memory",
        "--chdir",
        "/data",
    ]
    .map(str::to_owned);
    let script = "pwd; cat in/file; (echo x > in/file) 2>/dev/null || echo refused; echo y > in-memory/out/file
        echo z > in-memory/file && cat in-memory/file
        head -c 2000000 /dev/zero > full 2>/dev/null || echo limited; stat -c %s full";
    let output = output_in(host.path(), &flags, &["sh", "-c", script]);
    assert_eq!(
        text(&output),
        "/data\ngiven\nrefused\nz\nlimited\n1048576\n"
    );
    assert_eq!(
        fs::read_to_string(host.path().join("in/file")).unwrap(),
        "given\n"
    );
    assert_eq!(
        fs::read_to_string(host.path().join("out/file")).unwrap(),
        "y\n"
    );
}

#[test]
fn ids_are_names_inside_and_give_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let script = "id -u; id -g; grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | grep -vc 0000000000000000
        mount -t tmpfs x /tmp 2>/dev/null || echo no mount; chown 1 made 2>/dev/null || echo no chown; echo x > made";
    let flags = ["--uid", "0", "--gid", "70000"];
    let output = output_in(directory.path(), &flags, &["sh", "-c", script]);
    assert_eq!(text(&output), "0\n70000\n0\nno mount\nno chown\n");
    let made = fs::metadata(directory.path().join("made")).unwrap();
    let owner = fs::metadata(directory.path()).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()));
}

#[test]
fn limits_and_network_hold() {
    let script = "import os, socket
print(os.cpu_count() >= len(os.sched_getaffinity(0)) == 1)
try: socket.create_connection(('192.0.2.1', 9), 1)
except OSError as error: print(error.strerror)
children = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            os.read(0, 1); os._exit(0)
        children.append(pid)
except OSError as error: print(len(children), error.strerror)";
    let flags = ["--cpus", "1", "--pids", "20"];
    let directory = tempfile::tempdir().unwrap();
    let mut exec = super::exec(directory.path());
    let mut child = exec
        .args(flags)
        .args(["--", "python3", "-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let held = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(held);
    assert_eq!(
        text(&output),
        "True\nNetwork is unreachable\n19 Resource temporarily unavailable\n"
    );
}

#[test]
fn a_policy_file_has_the_keys_of_a_run_and_flags_win() {
    let files = [
        (
            "p.toml",
            "uid = 5\ntmpfs = ['/scratch:64KiB']\nchdir = '/scratch'\n[env]\nA = 'file'\nB = 'file'\n",
        ),
        (
            "p.yaml",
            "uid: 5\ntmpfs: ['/scratch:64KiB']\nchdir: /scratch\nenv: {A: file, B: file}\n",
        ),
        (
            "p.json",
            r#"{"uid": 5, "tmpfs": ["/scratch:64KiB"], "chdir": "/scratch", "env": {"A": "file", "B": "file"}}"#,
        ),
    ];
    for (name, content) in files {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), content).unwrap();
        let flags = ["--policy", name, "--env", "B=flag"];
        let script = "id -u; pwd; echo $A $B";
        let output = output_in(directory.path(), &flags, &["sh", "-c", script]);
        assert_eq!(text(&output), "5\n/scratch\nfile flag\n", "{name}");
    }
}

#[test]
fn a_key_without_effect_is_refused_and_variables_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = "task = 'x'\nadapter = 'jsonl'\ncommand = ['false']\nnetwrok = 'host'\n";
    fs::write(directory.path().join("p.toml"), file).unwrap();
    let output = output_in(directory.path(), &["--policy", "p.toml"], &["true"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let refused: Vec<&str> = stderr.lines().collect();
    assert_eq!(refused.len(), 4, "{stderr}");
    for key in ["task", "adapter", "command"] {
        let said = |line: &&&str| line.contains(key) && line.contains("only a run has it");
        assert!(refused.iter().find(said).is_some(), "{stderr}");
    }
    assert!(stderr.contains("did you mean network?"), "{stderr}");
    let mut exec = super::exec(directory.path());
    let output = exec
        .env("STOCKADE_NETWORK", "host")
        .env("STOCKADE_NO_SUCH_KEY", "x")
        .args([
            "--",
            "sh",
            "-c",
            "ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev",
        ])
        .output()
        .unwrap();
    assert_eq!(text(&output), "1\n");
}

#[test]
fn a_run_has_the_same_names() {
    let run = crate::harness::RunBuilder::sh("id -u; id -g; pwd; echo $A; cat /etc-of-host/hostname >/dev/null && echo shown; echo x > /scratch/x && echo written")
        .flag("--uid").flag("0").flag("--gid").flag("7").flag("--setenv").flag("A=1")
        .flag("--tmpfs").flag("/scratch:1MiB").flag("--ro").flag("/etc:/etc-of-host").flag("--chdir").flag("/scratch")
        .finish();
    assert_eq!(run.code(), 0, "{}", run.stderr);
    assert_eq!(run.stdout, "0\n7\n/scratch\n1\nshown\nwritten\n");
}

#[test]
fn nothing_less_than_what_is_required_is_built() {
    let lacking = output(&["--isolation", "full", "--preset", "nested"], &["true"]);
    // What a preset turns off itself is not required by the tier.
    assert!(lacking.status.success(), "{lacking:?}");
    let lacking = output(
        &["--isolation", "landlock", "--preset", "nested"],
        &["true"],
    );
    let stderr = String::from_utf8(lacking.stderr).unwrap();
    assert_eq!(lacking.status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("the layer landlock is missing"), "{stderr}");
    assert!(Path::new("/proc").exists());
}

#[test]
fn an_overlay_takes_every_change_and_leaves_the_workspace_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old"), "old\n").unwrap();
    let script = "echo changed > old && echo new > made && cat old made";
    let flags = ["--workspace-mode", "overlay"];
    let output = output_in(directory.path(), &flags, &["sh", "-c", script]);
    assert_eq!(text(&output), "changed\nnew\n");
    assert_eq!(
        fs::read_to_string(directory.path().join("old")).unwrap(),
        "old\n"
    );
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn secrets_of_the_system_stay_hidden_wherever_their_directory_is_shown() {
    for flag in ["--ro", "--rw"] {
        for (place, below) in [("/etc:/shown", "/shown"), ("/:/host", "/host/etc")] {
            let script =
                format!("cat {below}/shadow {below}/gshadow; test -r {below}/passwd && echo shown");
            let output = output(&[flag, place], &["sh", "-c", &script]);
            assert_eq!(text(&output), "shown\n", "{flag} {place}: {output:?}");
        }
    }
}
