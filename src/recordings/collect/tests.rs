use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;
use crate::recordings::Store;
use crate::recordings::artifact::ArtifactWriter;

const SECRET: &str = "correct-horse-battery";

const LIMITS: Limits = Limits {
    max_files: 100,
    max_file_bytes: 1_000,
    max_total_bytes: 5_000,
    secrets: Secrets::Withhold,
};

struct Fixture {
    _recordings: tempfile::TempDir,
    run: RunDir,
    tree: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let recordings = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(recordings.path()).unwrap();
        let run = store.create_run(&"r1".parse().unwrap()).unwrap();
        Self {
            _recordings: recordings,
            run,
            tree: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn collect(&self, limits: Limits, patterns: &[&str]) -> (Collected, Vec<ArtifactAdded>) {
        let secret = ("KEY".to_owned(), SECRET.as_bytes().to_vec());
        let redactor = Redactor::new([secret]);
        let mut told = Vec::new();
        let mut tell = |added| told.push(added);
        let top = File::open(self.tree.path()).unwrap();
        let is_over = || false;
        let mut collector = Collector::new(&self.run, &redactor, limits, &is_over, &mut tell);
        if patterns.is_empty() {
            collector.take_all(top.as_fd()).unwrap();
        } else {
            let patterns: Vec<_> = patterns
                .iter()
                .map(|text| Pattern::parse(text).unwrap())
                .collect();
            collector.take_chosen(top.as_fd(), &patterns).unwrap();
        }
        let collected = collector.finish();
        (collected, told)
    }

    fn kept(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.run.path().join("artifacts").join(path)).ok()
    }

    fn n_temporaries(&self) -> usize {
        std::fs::read_dir(self.run.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() != "artifacts")
            .count()
    }
}

fn by_path(told: &[ArtifactAdded]) -> BTreeMap<&str, Option<Withheld>> {
    told.iter()
        .map(|added| (added.path.as_str(), added.withheld))
        .collect()
}

#[test]
fn regular_files_are_kept_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.write("report.html", "<p>");
    fixture.write("deep/er/data.json", "{}");
    fixture.write("empty", "");
    symlink("/etc/passwd", fixture.path("link")).unwrap();
    symlink("/etc", fixture.path("deep/directory-link")).unwrap();
    symlink("nowhere", fixture.path("dangling")).unwrap();
    nix::unistd::mkfifo(&fixture.path("fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    let _socket = UnixListener::bind(fixture.path("socket")).unwrap();
    std::fs::write(
        fixture.tree.path().join(OsStr::from_bytes(b"\xff\xfe")),
        "x",
    )
    .unwrap();
    fixture.write("two\nlines", "x");
    let (collected, told) = fixture.collect(LIMITS, &[]);
    let expected = BTreeMap::from([
        ("report.html", None),
        ("deep/er/data.json", None),
        ("empty", None),
        ("link", Some(Withheld::Link)),
        ("deep/directory-link", Some(Withheld::Link)),
        ("dangling", Some(Withheld::Link)),
        ("fifo", Some(Withheld::Special)),
        ("socket", Some(Withheld::Special)),
        ("\u{fffd}\u{fffd}", Some(Withheld::Name)),
        ("two\\nlines", Some(Withheld::Name)),
    ]);
    assert_eq!(by_path(&told), expected);
    assert_eq!((collected.n_kept, collected.cut), (3, None));
    assert_eq!(fixture.kept("report.html").unwrap(), b"<p>");
    assert_eq!(fixture.kept("deep/er/data.json").unwrap(), b"{}");
    let report = told
        .iter()
        .find(|added| added.path == "report.html")
        .unwrap();
    assert_eq!(report.media_type, "text/html; charset=utf-8");
    assert_eq!(report.sha256.len(), 64);
    assert_eq!(fixture.n_temporaries(), 0);
}

#[test]
fn a_secret_in_a_file_or_its_name_is_not_stored_unless_the_description_says_so() {
    let fixture = Fixture::new();
    fixture.write("env.txt", format!("KEY={SECRET}\n"));
    fixture.write(&format!("{SECRET}.txt"), "harmless");
    fixture.write("clean.txt", "clean");
    let (_, told) = fixture.collect(LIMITS, &[]);
    let expected = BTreeMap::from([
        ("env.txt", Some(Withheld::Secret)),
        ("[redacted:KEY].txt", Some(Withheld::Secret)),
        ("clean.txt", None),
    ]);
    assert_eq!(by_path(&told), expected);
    assert!(fixture.kept("env.txt").is_none());
    let flagging = Limits {
        secrets: Secrets::Flag,
        ..LIMITS
    };
    std::fs::remove_file(fixture.path("clean.txt")).unwrap();
    let (_, told) = fixture.collect(flagging, &[]);
    assert!(told.iter().all(|added| added.has_secret), "{told:?}");
    assert!(fixture.kept("env.txt").is_some());
}

#[test]
fn every_limit_is_told_and_none_is_passed() {
    let fixture = Fixture::new();
    fixture.write("a-large", vec![b'x'; 1_001]);
    let sparse = File::create(fixture.path("b-sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    for number in 0..6 {
        fixture.write(&format!("c-{number}"), vec![b'x'; 900]);
    }
    let deep: String = (0..40).map(|_| "d/").collect();
    fixture.write(&format!("{deep}file"), "deep");
    let (collected, told) = fixture.collect(LIMITS, &[]);
    let told = by_path(&told);
    assert_eq!(told["a-large"], Some(Withheld::TooLarge));
    assert_eq!(told["b-sparse"], Some(Withheld::TooLarge));
    assert_eq!(told["c-4"], None);
    assert_eq!(told["c-5"], Some(Withheld::BeyondTotal));
    assert!(
        told.values()
            .any(|reason| *reason == Some(Withheld::TooDeep))
    );
    assert_eq!(collected.kept_bytes, 4_500);
    let fixture = Fixture::new();
    for number in 0..5 {
        fixture.write(&number.to_string(), "x");
    }
    let few = Limits {
        max_files: 2,
        ..LIMITS
    };
    let (collected, told) = fixture.collect(few, &[]);
    assert_eq!(collected.n_kept, 2);
    assert_eq!(by_path(&told)["4"], Some(Withheld::TooMany));
}

#[test]
fn many_refusals_are_counted_and_not_told_one_by_one() {
    let fixture = Fixture::new();
    for number in 0..MAX_TOLD + 50 {
        symlink("/etc/passwd", fixture.path(&format!("{number:04}"))).unwrap();
    }
    fixture.write("z", "kept");
    let (collected, told) = fixture.collect(LIMITS, &[]);
    assert_eq!(told.len(), MAX_TOLD + 1);
    assert_eq!(collected.untold, BTreeMap::from([(Withheld::Link, 50)]));
    assert_eq!(collected.n_kept, 1);
}

#[test]
fn patterns_choose_from_a_workspace_and_a_link_on_their_way_is_told() {
    let fixture = Fixture::new();
    fixture.write("target/a.xml", "a");
    fixture.write("target/b.txt", "b");
    fixture.write("src/lib.rs", "c");
    fixture.write("x/y/z.log", "d");
    symlink("/var/log", fixture.path("logs")).unwrap();
    symlink("/var/log", fixture.path("other")).unwrap();
    let patterns = ["target/*.xml", "**/*.log", "logs/*.log"];
    let (_, told) = fixture.collect(LIMITS, &patterns);
    let expected = BTreeMap::from([
        ("workspace/target/a.xml", None),
        ("workspace/x/y/z.log", None),
        ("workspace/logs", Some(Withheld::Link)),
    ]);
    assert_eq!(by_path(&told), expected);
    assert_eq!(fixture.kept("workspace/x/y/z.log").unwrap(), b"d");
}

#[test]
fn own_hard_links_are_kept_and_those_to_files_of_others_are_refused() {
    let fixture = Fixture::new();
    fixture.write("original", "x");
    std::fs::hard_link(fixture.path("original"), fixture.path("second")).unwrap();
    let (collected, _) = fixture.collect(LIMITS, &[]);
    assert_eq!(collected.n_kept, 2);
    if nix::unistd::geteuid().is_root() {
        let fixture = Fixture::new();
        fixture.write("original", "x");
        std::fs::hard_link(fixture.path("original"), fixture.path("second")).unwrap();
        std::os::unix::fs::chown(fixture.path("original"), Some(12_345), None).unwrap();
        let (collected, told) = fixture.collect(LIMITS, &[]);
        assert_eq!(collected.n_kept, 0);
        assert_eq!(by_path(&told)["second"], Some(Withheld::HardLink));
    }
}

#[test]
fn a_path_that_is_taken_is_never_replaced() {
    let fixture = Fixture::new();
    let mut writer = ArtifactWriter::create(&fixture.run, "taken", "text/plain", 10).unwrap();
    writer.write(b"first").unwrap();
    writer.finish().unwrap();
    fixture.write("taken", "second");
    let (_, told) = fixture.collect(LIMITS, &[]);
    assert_eq!(by_path(&told)["taken"], Some(Withheld::Exists));
    assert_eq!(fixture.kept("taken").unwrap(), b"first");
}

#[test]
fn a_collection_that_is_out_of_time_says_so() {
    let fixture = Fixture::new();
    fixture.write("a", "x");
    let redactor = Redactor::default();
    let mut tell = |_| panic!("nothing was to be taken");
    let top = File::open(fixture.tree.path()).unwrap();
    let mut collector = Collector::new(&fixture.run, &redactor, LIMITS, &|| true, &mut tell);
    collector.take_all(top.as_fd()).unwrap();
    assert!(collector.finish().cut.unwrap().contains("time"));
}

#[test]
fn what_changes_while_it_is_looked_at_or_copied_is_withheld() {
    // Asked before the entry, and before each piece and the end of the file, first for secrets and then for the copy.
    for change_at in 2..=5 {
        let fixture = Fixture::new();
        fixture.write("a", "first");
        let redactor = Redactor::default();
        let mut told = Vec::new();
        let mut tell = |added| told.push(added);
        let top = File::open(fixture.tree.path()).unwrap();
        let n_asked = std::cell::Cell::new(0);
        let is_over = || {
            n_asked.set(n_asked.get() + 1);
            if n_asked.get() == change_at {
                fixture.write("a", "longer than before");
            }
            false
        };
        let mut collector = Collector::new(&fixture.run, &redactor, LIMITS, &is_over, &mut tell);
        collector.take_all(top.as_fd()).unwrap();
        assert_eq!(collector.finish().n_kept, 0, "{change_at}");
        assert!(n_asked.get() >= change_at, "{change_at}");
        assert_eq!(by_path(&told)["a"], Some(Withheld::Changed), "{change_at}");
        assert_eq!(fixture.kept("a"), None);
        assert_eq!(fixture.n_temporaries(), 0);
    }
}

#[test]
fn what_is_chosen_from_the_workspace_shares_its_place_with_nobody() {
    let place = Fixture::new();
    place.write("workspace/t/a.xml", "not from the workspace");
    place.write("workspaces/b", "beside");
    let redactor = Redactor::new([]);
    let mut told = Vec::new();
    let mut tell = |added| told.push(added);
    let top = File::open(place.tree.path()).unwrap();
    let is_over = || false;
    let mut collector = Collector::new(&place.run, &redactor, LIMITS, &is_over, &mut tell);
    collector.reserve_workspace();
    collector.take_all(top.as_fd()).unwrap();
    assert_eq!(collector.finish().n_kept, 1);
    let found: Vec<_> = told.iter().map(|a| (a.path.as_str(), a.withheld)).collect();
    assert_eq!(
        found,
        [
            ("workspace", Some(Withheld::Exists)),
            ("workspaces/b", None)
        ]
    );
    assert_eq!(place.kept("workspace/t/a.xml"), None);
}
