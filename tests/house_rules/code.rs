//! Rules for the code.

use std::io::Write;

use crate::tree::{
    CRATES, Findings, code_of, has_word, manifest_path, manifest_table, read, root, rust, sources,
};

/// Lines of code after which a file should be split, and after which it must be.
const LONG_FILE_LINES: usize = 400;
const MAX_FILE_LINES: usize = 500;

/// Files that are tables, which splitting would not make clearer.
const TABLES: [&str; 1] = ["src/description/keys/table.rs"];

/// Files that hold the source of another program as text.
const OTHER_PROGRAMS: [&str; 1] = ["tests/e2e/crate_under_supervision.rs"];

/// The only files that may leave the compiler's guarantees.
const UNSAFE_FILES: [&str; 3] = [
    "sandbox/src/sys/",
    "entrypoint/src/sys.rs",
    "entrypoint/src/sys/",
];

/// Files of tests that pause between two looks of their one waiting loop, which has a deadline.
const WAITING_LOOPS: [&str; 1] = ["src/api/tests/fixture.rs"];

#[test]
fn unsafe_code_stands_in_the_two_system_call_modules_only() {
    let mut findings = Findings::new(
        "unsafe stands in sandbox/src/sys and entrypoint/src/sys only",
        "add a wrapper there that does one call, or use nix",
    );
    let word = concat!("un", "safe");
    for source in rust() {
        if UNSAFE_FILES
            .iter()
            .any(|allowed| source.path.starts_with(allowed))
        {
            continue;
        }
        for (line_idx, line) in source.text.lines().enumerate() {
            if has_word(code_of(line), word) && !line.contains('"') {
                findings.add(&source.path, line_idx, line.trim());
            }
        }
    }
    for path in ["src/lib.rs"] {
        if !read(path).contains(&format!("#![forbid({word}_code)]")) {
            findings.add(path, 0, "the crate does not forbid it");
        }
    }
    findings.check();
}

#[test]
fn the_member_crates_depend_on_nothing_of_ours() {
    let mut findings = Findings::new(
        "stockade -> sandbox, stockade -> entrypoint, and nothing else",
        "move what both need into the crate that calls, or pass it as a parameter",
    );
    for (name, directory) in CRATES {
        let path = manifest_path(directory);
        let manifest = read(&path);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for dependency in manifest_table(&manifest, table) {
                if name != "stockade" && dependency.starts_with("stockade") {
                    findings.add(&path, 0, &dependency);
                }
                let is_small = dependency == "nix"
                    || (table == "dev-dependencies" && dependency == "tempfile");
                if name == "stockade-entrypoint" && !is_small {
                    findings.add(
                        &path,
                        0,
                        &format!("{dependency}: the guardian is std and nix only"),
                    );
                }
                if table == "build-dependencies" {
                    findings.add(
                        &path,
                        0,
                        &format!("{dependency}: there are no build scripts"),
                    );
                }
            }
        }
        if root().join(directory).join("build.rs").exists() {
            findings.add(&path, 0, "build.rs: there are no build scripts");
        }
    }
    findings.check();
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut findings = Findings::new(
        "all lints are those of the workspace",
        "write `[lints]` and `workspace = true` into the manifest",
    );
    for (_, directory) in CRATES {
        let path = manifest_path(directory);
        if manifest_table(&read(&path), "lints") != ["workspace"] {
            findings.add(&path, 0, "[lints] is not `workspace = true`");
        }
    }
    for source in rust() {
        for (line_idx, line) in source.text.lines().enumerate() {
            let code = code_of(line).trim_start();
            let is_fence =
                UNSAFE_FILES.iter().any(|f| source.path.starts_with(f)) && code.starts_with("#![");
            if (code.starts_with("#[allow(") || code.starts_with("#![allow(")) && !is_fence {
                findings.add(
                    &source.path,
                    line_idx,
                    "use #[expect(lint, reason = \"…\")]",
                );
            }
        }
    }
    findings.check();
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    let mut findings = Findings::new(
        "a file has at most 500 lines without its tests",
        "split it by noun; a table may be listed in TABLES",
    );
    for source in rust() {
        let n_lines = n_lines_without_tests(&source.text);
        if TABLES.contains(&source.path.as_str()) {
            continue;
        }
        if n_lines > MAX_FILE_LINES {
            findings.add(&source.path, n_lines - 1, &format!("{n_lines} lines"));
        } else if n_lines > LONG_FILE_LINES {
            // Past the capture of the test harness, so that it is seen while the test passes.
            let _ = writeln!(
                std::io::stderr(),
                "warning: {} has {n_lines} lines; above {MAX_FILE_LINES} it must be split",
                source.path
            );
        }
    }
    findings.check();
}

/// Lines of a file without its items that are compiled for tests only, wherever they stand. Such an item ends with the first
/// line at the margin that closes it, as rustfmt writes it.
fn n_lines_without_tests(text: &str) -> usize {
    let mut n_lines = 0;
    let mut is_test_item = false;
    for line in text.lines() {
        is_test_item |= line == "#[cfg(test)]";
        if !is_test_item {
            n_lines += 1;
        } else if !line.starts_with(char::is_whitespace) && line.ends_with([';', '}']) {
            is_test_item = false;
        }
    }
    n_lines
}

#[test]
fn code_behind_a_test_module_counts_and_its_tests_do_not() {
    let before = "use a;\n\nfn b() {\n    c();\n}\n\n";
    let inline = "#[cfg(test)]\n#[expect(\n    lint,\n)]\nmod tests {\n    fn d() {\n    }\n}\n";
    let elsewhere = "#[cfg(test)]\nmod tests;\n";
    let behind = "\nfn e() {\n}\n";
    for tests in ["", inline, elsewhere] {
        let file = format!("{before}{tests}{behind}{tests}");
        assert_eq!(n_lines_without_tests(&file), 9, "{file}");
    }
}

#[test]
fn every_module_begins_with_what_it_owns() {
    let mut findings = Findings::new(
        "the first line of a file is its module documentation",
        "say in `//!` what the module owns, what it never does, and its invariant",
    );
    for source in rust() {
        // The tests of a module stand beside the file that documents it.
        let is_sibling = source.path.ends_with("/tests.rs");
        if !is_sibling && !source.text.starts_with("//! ") {
            findings.add(&source.path, 0, "no module documentation");
        }
    }
    findings.check();
}

#[test]
fn nothing_unfinished_lands() {
    let mut findings = Findings::new(
        "no placeholders, no disabled tests, no tests that expect a panic",
        "finish it, or write an issue; assert the error instead of the panic",
    );
    let banned = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("#[ig", "nore"),
        concat!("should_", "panic"),
        concat!("dbg", "!("),
    ];
    for source in rust() {
        if OTHER_PROGRAMS.contains(&source.path.as_str()) {
            continue;
        }
        for (line_idx, line) in source.text.lines().enumerate() {
            for word in banned {
                if line.contains(word) {
                    findings.add(&source.path, line_idx, word);
                }
            }
        }
    }
    findings.check();
}

#[test]
fn tests_wait_on_conditions_and_never_sleep() {
    let mut findings = Findings::new(
        "a test waits on a condition with a deadline",
        "use the harness's `until`; a sleep is a guess",
    );
    for source in rust() {
        let is_test_file = source.path.contains("tests/")
            || source.path.ends_with("/tests.rs")
            || source.path.contains("examples/");
        if WAITING_LOOPS.contains(&source.path.as_str()) {
            continue;
        }
        let mut in_tests = is_test_file;
        for (line_idx, line) in source.text.lines().enumerate() {
            in_tests |= line == "#[cfg(test)]";
            let sleeps = code_of(line).contains(concat!("thread::", "sleep("))
                || (in_tests && code_of(line).contains(concat!("time::", "sleep(")));
            if sleeps {
                findings.add(&source.path, line_idx, line.trim());
            }
        }
    }
    findings.check();
}

#[test]
fn no_file_knows_the_machine_that_it_was_written_on() {
    let mut findings = Findings::new(
        "no paths of one machine in what is committed, and no hosts of package registries in the documentation",
        "write paths from the root of the checkout, or $HOME; name the command instead of the host",
    );
    let mut paths = vec![root().to_string_lossy().into_owned()];
    if let Ok(home) = std::env::var("HOME")
        && home.len() > 1
    {
        paths.push(format!("{}/", home.trim_end_matches('/')));
    }
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", "."),
        concat!("docker", ".io"),
    ];
    let endings = [
        ".rs",
        ".md",
        ".toml",
        ".html",
        ".sh",
        ".py",
        ".json",
        ".txt",
        "run",
        "quickstart",
    ];
    for source in sources(&endings) {
        let is_page = source.path.ends_with(".md");
        for (line_idx, line) in source.text.lines().enumerate() {
            for path in &paths {
                if line.contains(path.as_str()) {
                    findings.add(&source.path, line_idx, path);
                }
            }
            for host in hosts {
                if is_page && line.contains(host) {
                    findings.add(&source.path, line_idx, host);
                }
            }
        }
    }
    findings.check();
}
