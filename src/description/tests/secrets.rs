//! Secrets reach the supervisor, and nothing else.

use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::{current_dir, resolve_args, resolve_in};
use crate::description::keys::{KEYS, Support};
use crate::description::{CredentialSource, Expose, HandOver, Secret};

const SECRET: &str = "correct-horse-battery";
const TOKEN: &str = "0123456789abcdef";

#[test]
fn credentials_are_read_from_value_file_environment_and_descriptor() {
    let dir = current_dir();
    std::fs::write(dir.path().join("secret"), "from file\n\n").unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    nix::unistd::write(writer.as_fd(), b"from descriptor\n").unwrap();
    drop(writer);
    let descriptor = reader.into_raw_fd();
    let file = "command = ['true']\n[credentials]\nA = 'from text'\nB = { value = 'from table' }\n";
    let args = format!(
        "--config run.toml --credential C=file:secret --credential D=env:CALLER --credential E=fd:{descriptor}"
    );
    let environment = [("CALLER", "from environment")];
    let (run, _) = resolve_in(dir.path(), &args, &environment, file).unwrap();
    let found: Vec<(&str, CredentialSource, &str)> = run
        .credentials
        .iter()
        .map(|(name, c)| (name.as_str(), c.source, c.secret.expose()))
        .collect();
    let expected = [
        ("A", CredentialSource::Value, "from text"),
        ("B", CredentialSource::Value, "from table"),
        ("C", CredentialSource::File, "from file\n"),
        ("D", CredentialSource::Env, "from environment"),
        ("E", CredentialSource::Fd, "from descriptor"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_reference_is_a_file_of_the_directory_and_leads_nowhere_else() {
    let dir = current_dir();
    let secrets = dir.path().join("secrets");
    // As Kubernetes shows a secret: a link to a file behind a link to a directory.
    std::fs::create_dir_all(secrets.join("..2024")).unwrap();
    std::fs::write(secrets.join("..2024/key"), "by reference\n").unwrap();
    symlink("..2024", secrets.join("..data")).unwrap();
    symlink("..data/key", secrets.join("key")).unwrap();
    symlink("../plain", secrets.join("out")).unwrap();
    symlink(dir.path().join("plain"), secrets.join("absolute")).unwrap();
    nix::unistd::mkfifo(&secrets.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::fs::create_dir(secrets.join("directory")).unwrap();
    let secrets = secrets.to_str().unwrap();
    let resolve = |args: &str, environment: &[(&str, &str)]| {
        let args = format!("{args} -- true");
        resolve_in(dir.path(), &args, environment, "")
    };
    let by_flag = "--credential KEY=ref:key --credentials-dir secrets";
    let by_reference = "--credential KEY=ref:key";
    for (args, environment) in [
        (by_flag, vec![("CREDENTIALS_DIRECTORY", "/absent")]),
        (by_reference, vec![("CREDENTIALS_DIRECTORY", secrets)]),
        (
            by_reference,
            vec![
                ("STOCKADE_CREDENTIALS_DIR", secrets),
                ("CREDENTIALS_DIRECTORY", "/absent"),
            ],
        ),
    ] {
        let (run, _) = resolve(args, &environment).unwrap();
        let credential = &run.credentials["KEY"];
        assert_eq!(credential.source, CredentialSource::Ref);
        assert_eq!(credential.secret.expose(), "by reference");
    }
    for (name, cause) in [
        ("out", "it is a link out of the directory"),
        ("absolute", "it is a link out of the directory"),
        ("pipe", "it is no file"),
        ("directory", "it is no file"),
    ] {
        let args = format!("--credentials-dir {secrets} --credential KEY=ref:{name}");
        let error = resolve(&args, &[]).unwrap_err().to_string();
        assert!(
            error.contains(&format!("({secrets}/{name}: {cause})")),
            "{error}"
        );
    }
}

#[test]
fn a_credential_says_how_the_workload_gets_it() {
    let file = "command = ['true']\n[credentials]\nA = 'by default'\nB = { value = 'as a variable', expose = 'env' }\nC = { value = 'not at all', expose = 'none' }\n";
    let (run, _) = resolve_args("--config run.toml", &[], file).unwrap();
    let found: Vec<Expose> = run.credentials.values().map(|c| c.expose).collect();
    assert_eq!(found, [Expose::Env, Expose::Env, Expose::None]);
    let public = &run.public()["credentials"]["C"];
    assert_eq!(
        *public,
        serde_json::json!({"source": "value", "expose": "none"})
    );
}

#[test]
fn the_place_of_a_credential_is_shown_and_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "correct-horse-battery-staple").unwrap();
    let args = format!(
        "--credential A=file:{} --credential B=env:T -- true",
        path.display()
    );
    let (description, options) = resolve_args(&args, &[("T", TOKEN)], "").unwrap();
    let hand_over = HandOver {
        description,
        options,
    };
    let handed = HandOver::from_bytes(&hand_over.to_bytes().unwrap()).unwrap();
    let public = handed.description.public();
    assert_eq!(public["credentials"]["A"]["from"], path.to_str().unwrap());
    assert_eq!(public["credentials"]["B"]["from"], "T");
}

#[test]
fn no_rendering_of_a_description_has_a_secret() {
    let file = format!(
        "command = ['curl', '-H', 'Bearer {SECRET}']\ntask = 'use {SECRET}'\n[credentials]\nKEY = '{SECRET}'\nPIN = '1234'\n[env]\nCOPY = '{SECRET}'\nSHORT = '1234'\nYEAR = 'in 12345'\n[labels]\nowner = '{SECRET}'\n"
    );
    let environment = [("STOCKADE_TOKEN", TOKEN)];
    let (run, options) = resolve_args("--config run.toml", &environment, &file).unwrap();
    let public = run.public();
    for text in [
        format!("{run:?}"),
        public.to_string(),
        format!("{options:?}"),
    ] {
        assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{text}");
    }
    assert_eq!(public["credentials"]["KEY"]["source"], "value");
    assert_eq!(public["command"][2], "Bearer [secret]");
    assert_eq!(public["env"]["COPY"], "[secret]");
    assert_eq!(public["env"]["SHORT"], "[secret]");
    assert_eq!(public["env"]["YEAR"], "in 12345");
    assert!(serde_json::to_string(&run).is_err());
    assert!(serde_json::to_string(&options).is_err());
}

#[test]
fn the_public_view_has_the_keys_of_the_file() {
    let args = "--run-id r-1 --timeout 5 --mount plain:/p --label a=b -- true";
    let dir = current_dir();
    let (run, _) = resolve_in(dir.path(), args, &[], "").unwrap();
    let real = dir.path().canonicalize().unwrap();
    let recording = serde_json::json!({
        "durability": "written",
        "segment_bytes": 256 << 20,
        "on_error": "stop",
        "on_full": "pause",
        "terminal": true,
        "terminal_bytes": 64 << 20,
        "artifacts": [],
        "artifact_files": 1_000,
        "artifact_bytes": 64 << 20,
        "artifact_total_bytes": 256 << 20,
        "artifact_secrets": "withhold",
    });
    let expected = serde_json::json!({
        "run_id": "r-1",
        "resumed_from": null,
        "task": null,
        "command": ["true"],
        "playbook": null,
        "parameters": {},
        "from_step": null,
        "playbook_sha256": null,
        "adapter": "none",
        "workspace": real.to_str(),
        "workspace_mode": "read-write",
        "chdir": real.to_str(),
        "env": {},
        "credentials": {},
        "profile": null,
        "labels": { "a": "b" },
        "timeout_seconds": 5,
        "idle_timeout_seconds": 0,
        "grace_seconds": 8,
        "stop_message_seconds": 0,
        "linger_seconds": 0,
        "max_steps": 50,
        "guardrails": {
            "max_consecutive_errors": 10,
            "stuck_cycle": 3,
            "stuck_hint": 3,
            "stuck_warn": 5,
            "stuck_stop": 7,
            "blocked_domains": [],
        },
        "tty": false,
        "interactive": false,
        "limits": { "output": 1 << 30, "memory": 2_u64 << 30, "swap": 0, "pids": 1_024, "cpus": null, "disk": 0 },
        "network": "none",
        "isolation": "best",
        "preset": "default",
        "mounts": [{ "source": real.join("plain").to_str(), "target": "/p", "access": "read-only" }],
        "ro": [],
        "rw": [],
        "tmpfs": [],
        "uid": null,
        "gid": null,
        "services": [],
        "hooks": { "pre_stop": null, "pre_stop_seconds": null, "post_run": null, "post_run_seconds": null },
        "output_schema": null,
        "output_file": null,
        "recording": recording,
    });
    assert_eq!(run.public(), expected);
}

#[test]
fn the_public_view_of_a_service_has_all_that_was_given_and_no_secret() {
    let file = "env.TOKEN = 'in the clear'\n\
        [credentials.KEY]\nvalue = 'secret-of-a-service'\n\
        [[services]]\nname = 'web'\ncommand = ['serve', '--key=secret-of-a-service']\n\
        env = { A = 1, B = 'secret-of-a-service' }\nready = { tcp = 80 }\nrestart = 'always'\n";
    let (run, _) = resolve_args("--config run.toml -- true", &[], file).unwrap();
    let expected = serde_json::json!([{
        "name": "web",
        "command": ["serve", "--key=[secret]"],
        "env": { "A": "1", "B": "[secret]" },
        "ready": { "tcp": 80, "timeout_seconds": 30 },
        "restart": "always",
        "max_restarts": 5,
        "stop_signal": "TERM",
        "stop_grace_seconds": 2,
        "required": true,
    }]);
    assert_eq!(run.public()["services"], expected);
}

#[test]
fn every_honoured_key_is_in_the_public_view() {
    let (run, _) = resolve_args("-- true", &[], "").unwrap();
    let public = run.public();
    for key in KEYS.iter().filter(|key| key.support == Support::Honoured) {
        let mut path = key.name.split('.');
        let found = path.try_fold(&public, |value, part| value.get(part));
        assert!(
            found.is_some(),
            "`stockade config show` has no value of {}",
            key.name
        );
    }
}

#[test]
fn no_error_has_a_secret() {
    let long = format!("{SECRET}{}", "x".repeat(10_000));
    let bad_json = format!("{{\"KEY\": \"{SECRET}");
    let entry = format!("{{\"KEY\": {{\"value\": \"{SECRET}\", \"file\": \"x\"}}}}");
    let good = format!("command = ['true']\n[credentials]\nKEY = '{SECRET}'\n");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], String);
    let cases: [Case<'_>; 9] = [
        ("--config run.toml", &[], format!("api_key = '{SECRET}'")),
        (
            "--config run.toml",
            &[],
            format!("credentails.KEY = '{SECRET}'"),
        ),
        ("--config run.toml", &[], format!("task = '{SECRET}' x")),
        (
            "--config run.toml",
            &[],
            format!("credentials = '{SECRET}'"),
        ),
        (
            "--config run.toml",
            &[],
            format!("{good}[env]\nKEY = '{SECRET}'\n"),
        ),
        (
            "--config run.toml",
            &[("STOCKADE_TASK", &long)],
            good.clone(),
        ),
        ("-- true", &[("STOCKADE_TOKN", SECRET)], String::new()),
        (
            "-- true",
            &[("STOCKADE_CREDENTIALS", &bad_json)],
            String::new(),
        ),
        (
            "-- true",
            &[("STOCKADE_CREDENTIALS", &entry)],
            String::new(),
        ),
    ];
    for (args, environment, file) in cases {
        let errors = resolve_args(args, environment, &file).unwrap_err();
        let texts = format!("{errors} {errors:?} {}", errors.details());
        assert!(!texts.contains(SECRET), "{texts}");
    }
    let args = format!("--credential KEY={SECRET} --env {SECRET} -- true");
    let errors = resolve_args(&args, &[], "").unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains(SECRET), "{errors}");
    let errors = resolve_args("-- true", &[("STOCKADE_TOKEN", "too-short")], "").unwrap_err();
    assert!(!errors.to_string().contains("too-short"), "{errors}");
}

#[test]
fn a_failed_resolution_says_where_it_can_be_recorded() {
    let args = "--run-id mine --recordings /r --timeout 0 -- true";
    let errors = resolve_args(args, &[], "").unwrap_err();
    assert_eq!(errors.run_id.unwrap().as_str(), "mine");
    assert_eq!(errors.recordings.unwrap(), std::path::Path::new("/r"));
    let errors = resolve_args("--run-id Not_Mine -- true", &[], "").unwrap_err();
    assert_eq!(errors.run_id, None);
}

#[test]
fn tokens_come_from_a_file_or_the_environment() {
    let dir = current_dir();
    std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let resolve = |args: &str, environment: &[(&str, &str)]| {
        let (_, options) = resolve_in(dir.path(), args, environment, "").unwrap();
        let exposed = |token: Option<Secret>| token.map(|token| token.expose().to_owned());
        (exposed(options.token), exposed(options.read_token))
    };
    let token = Some(TOKEN.to_owned());
    let other = Some("fedcba9876543210".to_owned());
    let in_environment = [
        ("STOCKADE_TOKEN", "fedcba9876543210"),
        ("STOCKADE_READ_TOKEN_FILE", "token"),
    ];
    assert_eq!(
        resolve("-- true", &in_environment),
        (other.clone(), token.clone())
    );
    let args = "--token-file token --listen 0.0.0.0:0 -- true";
    assert_eq!(
        resolve(args, &[("STOCKADE_TOKEN", "ignored")]),
        (token.clone(), None)
    );
    let read = [("STOCKADE_READ_TOKEN", "fedcba9876543210")];
    assert_eq!(resolve("--token-file token -- true", &read), (token, other));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_description_survives_the_hand_over(
        task in proptest::option::of("[^\0]{1,40}[a-z]"),
        arguments in proptest::collection::vec("[^\0]{0,20}", 0..5),
        env in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "[^\0]{0,20}", 0..5),
        credentials in proptest::collection::btree_map("[a-z][a-z0-9]{0,8}", "[^\0]{1,40}", 0..5),
        labels in proptest::collection::btree_map("[^\\pC]{1,20}", "[^\\pC]{0,20}", 0..5),
        timeout in 1_u64..604_800,
        idle in 0_u64..604_800,
        has_token: bool,
    ) {
        let command: Vec<&str> = std::iter::once("true").chain(arguments.iter().map(String::as_str)).collect();
        let json = |value: serde_json::Value| value.to_string();
        let (timeout, idle) = (timeout.to_string(), idle.min(timeout).to_string());
        let (command, env) = (json(command.into()), json(serde_json::json!(env)));
        let (credentials, labels) = (json(serde_json::json!(credentials)), json(serde_json::json!(labels)));
        let mut environment = vec![
            ("STOCKADE_COMMAND", command.as_str()),
            ("STOCKADE_ENV", &env),
            ("STOCKADE_CREDENTIALS", &credentials),
            ("STOCKADE_LABELS", &labels),
            ("STOCKADE_TIMEOUT_SECONDS", &timeout),
            ("STOCKADE_IDLE_TIMEOUT_SECONDS", &idle),
        ];
        environment.extend(task.as_deref().map(|task| ("STOCKADE_TASK", task)));
        environment.extend(has_token.then_some(("STOCKADE_TOKEN", TOKEN)));
        let (description, options) = resolve_args("", &environment, "").unwrap();
        let hand_over = HandOver { description, options };
        let bytes = hand_over.to_bytes().unwrap();
        prop_assert_eq!(HandOver::from_bytes(&bytes).unwrap(), hand_over);
    }
}
