//! What must hold for every preset and every place that a policy names.

use std::path::{Component, Path};

use stockade::document::Format;
use stockade::preset::{MAX_MOUNTS, MAX_PATHS, MAX_VARIABLES, Preset, read};
use stockade_sandbox::{Access, Bind, Isolation, Landlock, Policy, Proc, Tmpfs};

/// What a bind may show, so that no input opens anything else.
const SOURCES: [&str; 6] = [
    "/usr",
    "/etc",
    "/bin/sh",
    "/tmp",
    "/no/such/place",
    "/dev/null",
];

/// Places that the sandbox makes itself.
const OWN: [&str; 4] = ["/proc", "/dev", "/sys", "/output"];

/// A preset up to the first NUL; behind it lines, each with a digit for the source, `t` for a tmpfs or `m` for a mask, and
/// a target.
pub(crate) fn check(input: &[u8]) {
    let (text, lines) = match input.iter().position(|byte| *byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let mut allowed = None;
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        match read(text, format) {
            Ok(preset) => {
                check_preset(&preset);
                allowed = Some(preset);
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "a refusal has a reason");
                assert!(faults.is_sorted_by_key(|fault| fault.place));
                for fault in faults {
                    let told = fault.to_string();
                    assert!(!told.contains('\u{1b}'), "no escape reaches a terminal");
                    assert!(!fault.expected.is_empty(), "{told}");
                }
            }
        }
    }
    if let Ok(lines) = std::str::from_utf8(lines) {
        check_policy(&policy(&allowed.unwrap_or_default(), lines));
    }
}

fn check_preset(preset: &Preset) {
    assert!(preset.mounts.len() <= MAX_MOUNTS);
    assert!(preset.path.len() <= MAX_PATHS);
    assert!(preset.env.len() <= MAX_VARIABLES);
    assert!(!preset.about.contains(['\n', '\u{1b}']));
    for mount in &preset.mounts {
        assert!(mount.source.starts_with('/') || mount.source.starts_with("~/"));
        let target = mount.target.as_ref().unwrap_or(&mount.source);
        let is_own = OWN.iter().any(|own| Path::new(target).starts_with(own));
        assert!(!is_own, "{target} is the sandbox's own");
    }
    for (name, value) in &preset.env {
        assert!(name != "PATH" && name != "HOME");
        assert!(!name.is_empty() && !name.contains('='));
        assert!(!value.contains('\0'));
    }
}

fn policy(preset: &Preset, lines: &str) -> Policy {
    let mut policy = Policy::new(Isolation::Full);
    policy.allowed_calls.clone_from(&preset.allow_calls);
    if !preset.landlock {
        policy.landlock = Landlock::LeaveOff;
    }
    if !preset.mask_proc {
        policy.proc = Proc::Whole;
    }
    for line in lines.split('\n') {
        let Some(kind) = line.chars().next() else {
            continue;
        };
        let place = &line[kind.len_utf8()..];
        match kind {
            't' => policy.tmpfs.push(Tmpfs {
                target: place.into(),
                bytes: 4_096,
            }),
            'm' => policy.masks.push(place.into()),
            digit => {
                let idx = digit as usize;
                policy.binds.push(Bind {
                    source: SOURCES[idx % SOURCES.len()].into(),
                    target: place.into(),
                    access: match idx % 2 {
                        0 => Access::ReadOnly,
                        _ => Access::ReadWrite,
                    },
                });
            }
        }
    }
    policy
}

fn check_policy(policy: &Policy) {
    let plan = match policy.plan() {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let targets = plan.targets();
    for (idx, target) in targets.iter().enumerate() {
        let mut parts = target.components();
        assert_eq!(parts.next(), Some(Component::RootDir), "{target:?}");
        assert!(
            parts.clone().next().is_some(),
            "the root is the sandbox's own"
        );
        assert!(
            parts.all(|part| matches!(part, Component::Normal(_))),
            "{target:?}"
        );
        let is_own = OWN.iter().any(|own| target.starts_with(own));
        assert!(!is_own, "{target:?} is the sandbox's own");
        let covers = targets[..idx]
            .iter()
            .find(|earlier| earlier.starts_with(target) && *earlier != target);
        assert_eq!(
            covers, None,
            "{target:?} would cover what was mounted before it"
        );
    }
}
