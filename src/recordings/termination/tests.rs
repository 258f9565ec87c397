use super::*;

fn message() -> TerminationMessage {
    TerminationMessage {
        run_id: "r1".parse().unwrap(),
        status: Status::Failed,
        exit_code: 7,
        code: Some(ErrorCode::CommandFailed),
        by: EndedBy::Agent,
        last_event_id: 12,
        log_head: Some("ab".repeat(32)),
        reason: "the command exited".to_owned(),
        recordings_error: None,
        message: Some("exit code 7".to_owned()),
    }
}

fn decode(line: &[u8]) -> serde_json::Value {
    assert!(line.len() <= MAX_TERMINATION_BYTES, "{}", line.len());
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn a_short_message_is_whole() {
    let value = decode(&message().encode().unwrap());
    assert_eq!(
        value,
        serde_json::json!({
            "run_id": "r1", "status": "failed", "exit_code": 7, "code": "COMMAND_FAILED", "by": "agent",
            "last_event_id": 12, "log_head": "ab".repeat(32), "reason": "the command exited",
            "message": "exit code 7",
        })
    );
}

#[test]
fn texts_are_cut_in_order_and_no_more_than_needed() {
    let fillers = ["x", "é", "\u{1}", "\"", "😀"];
    for filler in fillers {
        let mut long = message();
        long.message = Some(filler.repeat(5_000));
        let line = long.encode().unwrap();
        assert!(
            line.len() > MAX_TERMINATION_BYTES - 8,
            "{filler:?}: {}",
            line.len()
        );
        let value = decode(&line);
        assert_eq!(value["reason"], "the command exited");
        assert!(value["message"].as_str().unwrap().ends_with('…'));

        long.reason = filler.repeat(5_000);
        long.recordings_error = Some("disk".to_owned());
        let line = long.encode().unwrap();
        assert!(
            line.len() > MAX_TERMINATION_BYTES - 8,
            "{filler:?}: {}",
            line.len()
        );
        let value = decode(&line);
        assert_eq!(value["message"], "…");
        assert!(value["reason"].as_str().unwrap().starts_with(filler));
        assert_eq!(value["recordings_error"], "disk");

        long.recordings_error = Some(filler.repeat(5_000));
        let value = decode(&long.encode().unwrap());
        assert_eq!(
            (&value["message"], &value["reason"]),
            (&"…".into(), &"…".into())
        );
        assert_eq!(value["code"], "COMMAND_FAILED");
    }
}

#[test]
fn the_file_is_replaced_if_it_exists_and_never_made() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("termination-log");
    assert_eq!(message().deliver(&path).unwrap(), Delivery::Unwanted);
    assert!(!path.exists());
    std::fs::write(&path, "x".repeat(10_000)).unwrap();
    assert_eq!(message().deliver(&path).unwrap(), Delivery::Written);
    assert_eq!(std::fs::read(&path).unwrap(), message().encode().unwrap());
}

#[test]
fn what_cannot_be_written_is_an_error_and_never_waits() {
    let root = tempfile::tempdir().unwrap();
    let fifo = root.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [root.path(), &fifo] {
        let error = message().deliver(path).unwrap_err();
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn the_variable_names_another_file() {
    let path = |value: Option<&str>| {
        let value = value.map(OsString::from);
        termination_log_path(&|name| {
            assert_eq!(name, TERMINATION_LOG_VARIABLE);
            value.clone()
        })
    };
    assert_eq!(path(Some("/x")), PathBuf::from("/x"));
    assert_eq!(path(Some("")), PathBuf::from(DEFAULT_TERMINATION_LOG));
    assert_eq!(path(None), PathBuf::from(DEFAULT_TERMINATION_LOG));
}
