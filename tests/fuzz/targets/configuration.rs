//! What must hold for every description file, in each of the three formats.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;
use stockade::cli::flags::{RunFlags, SandboxFlags, resolve};
use stockade::description::{CredentialSource, DescriptionErrors, HandOver, RunDescription};

/// Parts of the public view in which whoever writes a description may put any text.
const FREE_PARTS: [&str; 6] = ["task", "command", "workspace", "env", "labels", "mounts"];

/// Shortest secret that is masked wherever it stands, in bytes.
const MIN_MASKED_BYTES: usize = 8;

/// Longest error, in bytes: a key and a value are cut, and a remedy is a few lines at most.
const MAX_ERROR_BYTES: usize = 4_096;

/// Reads `input` as a description file: its first byte is the format (`y`, `j`, else TOML), the rest is the text.
pub(crate) fn check(input: &[u8]) {
    let (format, text) = match input.split_first() {
        Some((b'y', text)) => ("yaml", text),
        Some((b'j', text)) => ("json", text),
        Some((_, text)) => ("toml", text),
        None => return,
    };
    // Devices wait, and descriptors are those of this process.
    let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    if has(b"/dev") || has(b"/proc") || has(b"fd") {
        return;
    }
    let directory = std::env::temp_dir().join(format!("stockade-fuzz-{}", std::process::id()));
    let work = directory.join("work");
    std::fs::create_dir_all(&work).unwrap();
    let file = directory.join(format!("run.{format}"));
    std::fs::write(&file, text).unwrap();
    let resolved = resolve_in(&work, &file);
    std::fs::remove_dir_all(&directory).unwrap();
    match resolved {
        Ok(hand_over) => {
            let bytes = hand_over.to_bytes().unwrap();
            assert_eq!(HandOver::from_bytes(&bytes).unwrap(), hand_over);
            check_masked(&hand_over.description);
        }
        Err(errors) => {
            let lines = errors.to_string();
            assert_eq!(lines.lines().count(), errors.errors.len(), "{lines}");
            for error in &errors.errors {
                let text = error.to_string();
                assert!(text.len() <= MAX_ERROR_BYTES, "{text}");
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    }
}

fn resolve_in(work: &Path, file: &Path) -> Result<HandOver, DescriptionErrors> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let sandbox = SandboxFlags {
        workspace: Some(text(work)),
        ..SandboxFlags::default()
    };
    let flags = RunFlags {
        config: Some(text(file)),
        sandbox,
        profile_dir: Some(text(work)),
        credentials_dir: Some(text(work)),
        socket: Some("none".to_owned()),
        ..RunFlags::default()
    };
    let environment = [(OsString::from("HOME"), work.into())];
    let (description, options) = resolve(flags, environment, work)?;
    Ok(HandOver {
        description,
        options,
    })
}

/// No secret is left in the public view.
fn check_masked(description: &RunDescription) {
    let public = description.public();
    for (name, credential) in &description.credentials {
        let secret = credential.secret.expose();
        if credential.source != CredentialSource::Value || secret.len() < MIN_MASKED_BYTES {
            continue;
        }
        for part in FREE_PARTS {
            assert!(!holds(&public[part], secret), "{name} is in {part}");
        }
    }
}

fn holds(value: &Value, secret: &str) -> bool {
    match value {
        Value::String(text) => text.contains(secret),
        Value::Array(items) => items.iter().any(|item| holds(item, secret)),
        Value::Object(entries) => entries.values().any(|entry| holds(entry, secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
