//! The order in which the end of a run gets to the disk.

use crate::disk::shim;
use crate::harness::RunBuilder;

/// A sync or a rename: what it is, whether its file says how the run ended, and the name of that file.
type Call = (String, bool, String);

/// The calls that the shim recorded, in order.
fn calls(record: &str) -> Vec<Call> {
    record
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let call = words.next().unwrap().to_owned();
            let has_end = words.next().unwrap() == "end";
            let name = words.next().unwrap().rsplit('/').next().unwrap();
            // The temporary file of a document has the name of the document, a dot before it, and an ending.
            let is_temporary = name.starts_with(".status.json");
            let name = if is_temporary { "status.json" } else { name };
            (call, has_end, name.to_owned())
        })
        .collect()
}

#[test]
fn the_log_has_its_end_on_disk_before_the_status_which_is_on_disk_before_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = shim(directory.path()) else {
        return;
    };
    let record = directory.path().join("record");
    for round in 0..4 {
        let run = RunBuilder::sh("exit 3")
            .env("LD_PRELOAD", &library)
            .env("FSYNC_SHIM", format!("record={}:0", record.display()))
            .finish();
        assert_eq!(run.code(), 3, "{}", run.stderr);
        run.recording.assert_whole();
        let calls = calls(&std::fs::read_to_string(&record).unwrap());
        std::fs::remove_file(&record).unwrap();
        let after = |from: usize, call: &str, has_end: bool, name: &str| {
            let wanted = (call.to_owned(), has_end, name.to_owned());
            let found = calls.iter().skip(from).position(|call| *call == wanted);
            let at = found.map(|at| from + at);
            at.unwrap_or_else(|| {
                panic!("round {round}: no {wanted:?} from {from} on in {calls:#?}")
            })
        };
        let log = after(0, "sync", true, "events.jsonl");
        let content = after(0, "sync", true, "status.json");
        let name = after(0, "rename", true, "status.json");
        after(name, "sync", false, "run");
        assert!(log < content && content < name, "{calls:#?}");
    }
}
