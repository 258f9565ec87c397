//! The standard streams of the command are the caller's own.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use super::{Started, exec};

/// Longest wait for the end of an output, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mebibyte in which each byte stands beside different ones.
fn every_byte() -> Vec<u8> {
    let bytes = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]);
    let bytes: Vec<u8> = bytes.collect();
    assert!((0..=255).all(|byte| bytes.contains(&byte)));
    bytes
}

#[test]
fn every_byte_passes_in_both_directions() {
    let directory = tempfile::tempdir().unwrap();
    let sent = every_byte();
    for (script, is_error) in [("cat", false), ("cat >&2", true)] {
        let mut child = exec(directory.path())
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let to_be_sent = sent.clone();
        let sender = std::thread::spawn(move || {
            input.write_all(&to_be_sent).unwrap();
            // Its end is the end of the input, behind which cat ends.
            drop(input);
        });
        let output = child.wait_with_output().unwrap();
        sender.join().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let (full, empty) = match is_error {
            true => (output.stderr, output.stdout),
            false => (output.stdout, output.stderr),
        };
        assert!(full == sent, "{} of {} bytes", full.len(), sent.len());
        assert!(empty.is_empty(), "{empty:?}");
    }
}

#[test]
fn an_output_that_the_command_closes_ends_for_its_reader() {
    let mut started = Started::new(&[], &["sh", "-c", "echo last; exec >&-; read line"]);
    // It would not end before the command if anybody else held the pipe.
    let mut output = started.child.stdout.take().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = tell.send(output.read_to_string(&mut text).map(|_| text));
    });
    let text = told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(text, "last\n");
    assert!(started.child.try_wait().unwrap().is_none());
    drop(started.child.stdin.take());
    assert_eq!(started.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_reader_that_goes_away_ends_the_writer_by_sigpipe() {
    let mut started = Started::new(&[], &["yes"]);
    let mut some = [0; 64];
    let mut output = started.child.stdout.take().unwrap();
    output.read_exact(&mut some).unwrap();
    drop(output);
    let status = started.child.wait().unwrap();
    assert_eq!(status.signal(), Some(nix::libc::SIGPIPE), "{status:?}");
}

#[test]
fn arguments_pass_as_bytes_and_nothing_else_is_inherited() {
    use std::os::unix::ffi::OsStringExt;
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::ffi::OsString::from_vec(vec![b'a', 0xff, b'\n', b' ']);
    let list = "printf '%s' \"$1\"; ls /proc/self/fd | tr '\\n' ' '; env | sort | tr '\\n' ' '";
    let output = exec(directory.path())
        .env("SECRET", "x")
        .env("TERM", "vt100")
        .args(["--setenv", "A=1", "--env", "B=2", "--env-from", "SECRET"])
        .args(["--", "sh", "-c", list, "sh"])
        .arg(&bytes)
        .output()
        .unwrap();
    let expected = [
        b"a\xff\n 0 1 2 3 A=1 B=2 HOME=/home/agent LANG=C.UTF-8 ".as_slice(),
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ",
        format!("PWD={} SECRET=x TERM=vt100 ", directory.path().display()).as_bytes(),
    ]
    .concat();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&expected)
    );
}
