//! Presets that come with the program, and files that are none.

use super::*;

fn errors(text: &str) -> Vec<String> {
    let faults = read(text.as_bytes(), Format::Toml).expect_err(text);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn every_preset_of_the_program_is_valid_and_says_what_it_is_for() {
    for file in PRESETS {
        let preset = read(file.text.as_bytes(), Format::Toml).unwrap();
        assert!(!preset.about.is_empty(), "{}", file.name);
        assert_eq!(find(file.name), Some(&PRESETS[position(file.name)]));
    }
    let of = |name: &str| read(find(name).unwrap().text.as_bytes(), Format::Toml).unwrap();
    let about = of(DEFAULT).about;
    assert_eq!(
        of(DEFAULT),
        Preset {
            about,
            ..Preset::default()
        }
    );
    let nested = of("nested");
    assert!(!nested.landlock && !nested.mask_proc);
    assert_eq!(
        nested.allow_calls,
        [CallGroup::Namespaces, CallGroup::Mounts]
    );
    let dev = of("dev");
    assert!(dev.landlock && dev.mask_proc && dev.allow_calls.is_empty());
    // No place in which a toolchain keeps credentials.
    for mount in &dev.mounts {
        let closed = [
            "~/.cargo",
            "~/.local",
            "~/.local/share",
            "~/.local/share/uv",
            "~/go",
            "~",
        ];
        assert!(!closed.contains(&mount.source.as_str()), "{}", mount.source);
    }
}

fn position(name: &str) -> usize {
    PRESETS.iter().position(|file| file.name == name).unwrap()
}

#[test]
fn an_empty_preset_is_the_default() {
    assert_eq!(read(b"", Format::Toml).unwrap(), Preset::default());
    assert_eq!(
        read(b"# nothing\n", Format::Yaml).unwrap(),
        Preset::default()
    );
}

#[test]
fn every_fault_is_told_with_its_place_and_a_remedy() {
    let text = r#"landlok = true
landlock = "no"
allow-calls = ["mounts", "mounts", "mount", 7]
path = ["bin", "/a:b"]
mounts = ["x", { target = "/proc/x" }, { source = "~/../x" }, { source = "/", access = "read-write" }]
[env]
PATH = "/bin"
STOCKADE_X = "1"
"1x" = "y"
X = 48151623
"#;
    let expected = [
        "1:1: landlok: no such key; did you mean landlock?",
        "2:12: landlock = \"no\": not a boolean; give true or false",
        "3:26: allow-calls[1] = \"mounts\": there already; give it once",
        "3:36: allow-calls[2] = \"mount\": no such group; did you mean mounts?",
        "3:45: allow-calls[3] = 7: no such group; the groups are namespaces, mounts, setid-bits, sockets, keys, io-uring, other-processes, bpf, perf, userfaultfd, file-handles, fanotify, terminals, numa, personality, clock, administration, obsolete, newest",
        "4:9: path[0] = \"bin\": not a plain path; give an absolute path, or one that begins with ~/, without .., and not /",
        "4:16: path[1] = \"/a:b\": a directory that PATH cannot hold; give one directory each, without a colon",
        "5:11: mounts[0] = \"x\": not a mount; give { source = \"~/PATH\" }, and a target if it is another path",
        "5:16: mounts[1]: a mount without a source; give it a source, the path on the host",
        "5:27: mounts[1].target = \"/proc/x\": not a place for a file; give an absolute path without .., not / and not in /proc, /sys, /dev or /output",
        "5:51: mounts[2].source = \"~/../x\": not a plain path; give an absolute path, or one that begins with ~/, without .., and not /",
        "5:74: mounts[3].source = \"/\": not a place for a file; give an absolute path without .., not / and not in /proc, /sys, /dev or /output",
        "5:79: mounts[3].access: no such key of a mount; give source and target; a preset shows files read-only",
        "7:1: env.PATH: not a preset's to set; give directories by the key path",
        "8:1: env.STOCKADE_X: not a preset's to set; leave it out; it is the run's own",
        "9:1: env.1x: no name of a variable; give letters, digits and _, the first no digit",
        "10:5: env.X: a whole number; give text of at most 4,096 bytes, without NUL",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn what_is_no_document_is_one_fault() {
    assert_eq!(errors("about = \"x").len(), 1);
    assert!(read(b"- x", Format::Yaml).is_err());
}

#[test]
fn every_limit_holds() {
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let many = |item: &str, count: usize| vec![item; count].join(",");
    for text in [
        format!("about = \"{}\"", "x".repeat(121)),
        format!("path = [\"/{long}\"]"),
        format!("path = [{}]", many("\"/a\"", MAX_PATHS + 1)),
        format!("mounts = [{}]", many("{source = \"/a\"}", MAX_MOUNTS + 1)),
        format!("env = {{X = \"{long}\"}}"),
    ] {
        assert_eq!(errors(&text).len(), 1, "{}", text.len());
    }
}

#[test]
fn what_would_undo_another_layer_is_refused() {
    let text = "allow-calls = [\"namespaces\", \"io-uring\"]";
    assert_eq!(errors(text).len(), 1);
    assert!(errors(text)[0].contains("allow one of them"));
}
