//! Which source wins, what is merged, and what the defaults are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{current_dir, resolve_args, resolve_in};
use crate::description::{
    Access, Adapter, Authentication, Durability, Isolation, Limits, Listen, LogFormat, LogLevel,
    Mount, MountKey, Network, OnError, OnFull, Origin, Recording, Socket, WorkspaceMode,
};

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    let owned = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into_iter().collect()
}

#[test]
fn a_bare_command_gets_every_default() {
    let dir = current_dir();
    let (run, options) = resolve_in(dir.path(), "-- true", &[], "").unwrap();
    assert_eq!(run.task, None);
    assert_eq!(run.command, ["true"]);
    assert_eq!(run.adapter, Adapter::None);
    assert_eq!(run.workspace, dir.path().canonicalize().unwrap());
    assert_eq!(run.workspace_mode, WorkspaceMode::ReadWrite);
    assert_eq!(run.env, map([]));
    assert!(run.credentials.is_empty());
    assert_eq!(run.labels, map([]));
    assert_eq!(run.timeout, Duration::from_secs(600));
    assert_eq!(run.idle_timeout, None);
    assert_eq!(run.grace, Duration::from_secs(8));
    assert_eq!(run.linger, Duration::ZERO);
    assert_eq!(run.max_steps, 50);
    let limits = Limits {
        output_bytes: 1 << 30,
        memory_bytes: 2 << 30,
        swap_bytes: 0,
        pids: 1_024,
        cpu_millis: None,
        disk_bytes: None,
    };
    assert_eq!(run.limits, limits);
    assert_eq!(run.network, Network::None);
    assert_eq!(run.isolation, Isolation::Full);
    assert_eq!(run.mounts, []);
    let recording = Recording {
        durability: Durability::Written,
        segment_bytes: 256 << 20,
        on_error: OnError::Stop,
        on_full: OnFull::Pause,
        terminal: true,
        terminal_bytes: 64 << 20,
    };
    assert_eq!(run.recording, recording);
    assert_eq!(run.origin_of("command"), &Origin::Arguments);
    assert!(!run.is_explicit("timeout_seconds"));

    assert_eq!(options.listen, Listen::Default);
    assert_eq!(options.socket, Socket::Default { runtime_dir: None });
    let recordings = Path::new("/home/tester/.local/state/stockade/runs");
    assert_eq!(options.recordings, recordings);
    assert_eq!((options.token, options.read_token), (None, None));
    assert_eq!(options.authentication, Authentication::Required);
    assert_eq!(options.log_format, LogFormat::Human);
    assert_eq!(options.log_level, LogLevel::Info);
    assert_eq!(options.stop_exit_code, None);
    assert_eq!(options.termination_log, Path::new("/dev/termination-log"));
}

#[test]
fn flags_win_over_environment_and_environment_over_file() {
    let file = "command = ['from-file', 'a']\ntimeout_seconds = 1\ngrace_seconds = 1\nlinger_seconds = 1\nlimits.output = '1MiB'\n";
    let environment = [
        ("STOCKADE_TIMEOUT_SECONDS", "2"),
        ("STOCKADE_GRACE_SECONDS", "2m"),
        ("STOCKADE_LIMITS_OUTPUT", "2MB"),
    ];
    let args = "--config run.toml --timeout 3h";
    let (run, _) = resolve_args(args, &environment, file).unwrap();
    assert_eq!(run.command, ["from-file", "a"]);
    assert_eq!(run.timeout, Duration::from_secs(3 * 3_600));
    assert_eq!(run.grace, Duration::from_secs(120));
    assert_eq!(run.linger, Duration::from_secs(1));
    assert_eq!(run.limits.output_bytes, 2_000_000);
    assert_eq!(
        run.origin_of("timeout_seconds").to_string(),
        "from --timeout"
    );
    assert_eq!(
        run.origin_of("grace_seconds").to_string(),
        "from the environment variable STOCKADE_GRACE_SECONDS"
    );
    assert_eq!(
        run.origin_of("linger_seconds").to_string(),
        "in run.toml:4:1"
    );
}

#[test]
fn a_value_set_to_its_default_is_explicit_and_wins() {
    let environment = [("STOCKADE_TIMEOUT_SECONDS", "5")];
    let (run, _) = resolve_args("--timeout 600 -- true", &environment, "").unwrap();
    assert_eq!(run.timeout, Duration::from_secs(600));
    assert!(run.is_explicit("timeout_seconds"));
}

#[test]
fn maps_are_merged_by_name_and_lists_are_replaced() {
    let file = "command = ['a', 'b']\nmounts = ['plain']\n[env]\nA = 'file'\nB = 'file'\nC = 1\nD = true\n[labels]\nteam = 'file'\n";
    let environment = [
        ("STOCKADE_ENV", r#"{"B": "environment", "E": ""}"#),
        ("STOCKADE_COMMAND", r#"["c"]"#),
        (
            "STOCKADE_MOUNTS",
            r#"[{"source": "work", "target": "/w/./x//y", "access": "read-write"}]"#,
        ),
        ("FROM", "caller"),
    ];
    let args = "--config run.toml --env A=x=y --env-from FROM --label kind=test";
    let dir = current_dir();
    let (run, _) = resolve_in(dir.path(), args, &environment, file).unwrap();
    let env = [
        ("A", "x=y"),
        ("B", "environment"),
        ("C", "1"),
        ("D", "true"),
        ("E", ""),
        ("FROM", "caller"),
    ];
    assert_eq!(run.env, map(env));
    assert_eq!(run.labels, map([("kind", "test"), ("team", "file")]));
    assert_eq!(run.command, ["c"]);
    let mount = Mount {
        source: dir.path().canonicalize().unwrap().join("work"),
        target: "/w/x/y".into(),
        access: Access::ReadWrite,
        key: MountKey::Mounts,
    };
    assert_eq!(run.mounts, [mount]);
}

#[test]
fn the_same_description_in_three_formats_is_the_same_run() {
    let dir = current_dir();
    let files = [
        (
            "run.toml",
            "command = ['make', 'test']\ntimeout_seconds = '10m'\nmounts = [{ source = 'plain', target = '/p' }]\nlimits.output = 2048\n[env]\nCI = '1'\nN = 1.50\n",
        ),
        (
            "run.yaml",
            "# by hand\ncommand: [make, test]\ntimeout_seconds: 10m\nmounts:\n- {source: plain, target: /p}\nlimits: {output: 2048}\nenv:\n  CI: \"1\"\n  N: 1.50\n",
        ),
        (
            "run.json",
            r#"{"command": ["make", "test"], "timeout_seconds": "10m", "mounts": [{"source": "plain", "target": "/p"}],
            "limits": {"output": 2048}, "env": {"CI": "1", "N": 1.50}}"#,
        ),
    ];
    let mut runs = files.map(|(name, text)| {
        std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::write(dir.path().join("odd-name"), text).unwrap();
        let format = name.split_once('.').unwrap().1;
        let by_ending = format!("--run-id r --config {name}");
        let by_flag = format!("--run-id r --config odd-name --config-format {format}");
        let [by_ending, by_flag] = [by_ending, by_flag].map(|args| {
            let (mut run, _) = resolve_in(dir.path(), &args, &[], "").unwrap();
            run.origins.clear();
            run
        });
        assert_eq!(by_ending, by_flag, "{name}");
        by_ending
    });
    assert_eq!(runs[0].command, ["make", "test"]);
    assert_eq!(runs[0].limits.output_bytes, 2048);
    assert_eq!(runs[1], runs[2]);
    // TOML does not keep how a number was written.
    for run in &mut runs {
        assert!(run.env.remove("N").unwrap().starts_with("1.5"));
    }
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn a_file_of_comments_says_nothing() {
    for name in ["run.yaml", "run.toml"] {
        let dir = current_dir();
        std::fs::write(dir.path().join(name), "# nothing\n").unwrap();
        let args = format!("--config {name} -- true");
        let (run, _) = resolve_in(dir.path(), &args, &[], "").unwrap();
        assert_eq!(run.command, ["true"], "{name}");
    }
}

#[test]
fn relative_paths_begin_at_the_file_that_they_stand_in() {
    let dir = current_dir();
    let real = dir.path().canonicalize().unwrap();
    let file = "command = ['true']\nworkspace = '.'\nmounts = ['secret:/s']\n[credentials]\nKEY.file = 'secret'\n";
    std::fs::write(dir.path().join("work/run.toml"), file).unwrap();
    std::fs::write(dir.path().join("work/secret"), "in the file\r\n").unwrap();
    let (run, _) = resolve_in(dir.path(), "--config work/run.toml", &[], "").unwrap();
    assert_eq!(run.workspace, real.join("work"));
    assert_eq!(run.mounts[0].source, real.join("work/secret"));
    assert_eq!(run.credentials["KEY"].secret.expose(), "in the file");
    let args = "--config work/run.toml --workspace work/..";
    let (run, _) = resolve_in(dir.path(), args, &[], "").unwrap();
    assert_eq!(run.workspace, real);
}

#[test]
fn short_mounts_have_a_target_and_an_access() {
    let dir = current_dir();
    let real = dir.path().canonicalize().unwrap();
    let target = dir.path().join("work");
    let cases = [
        ("work", target.clone(), Access::ReadOnly),
        ("work:rw", target, Access::ReadWrite),
        ("work:/in", "/in".into(), Access::ReadOnly),
        ("work:/in:rw", "/in".into(), Access::ReadWrite),
        ("work:/in/:ro", "/in".into(), Access::ReadOnly),
    ];
    for (short, target, access) in cases {
        let args = format!("--mount {short} -- true");
        let (run, _) = resolve_in(dir.path(), &args, &[], "").unwrap();
        let source = real.join("work");
        assert_eq!(
            run.mounts,
            [Mount {
                source,
                target,
                access,
                key: MountKey::Mounts,
            }],
            "{short}"
        );
    }
}

#[test]
fn short_forms_count_as_mounts_and_targets_are_unique_over_all_of_them() {
    let dir = current_dir();
    let real = dir.path().canonicalize().unwrap();
    let args = "--mount plain:/m:rw --ro work:/r --rw work:/w --tmpfs /t:1MiB --tmpfs /u -- true";
    let (run, _) = resolve_in(dir.path(), args, &[], "").unwrap();
    let mounts: Vec<_> = run
        .mounts
        .iter()
        .map(|m| (m.target.to_str(), m.access, m.key))
        .collect();
    let expected = [
        (Some("/m"), Access::ReadWrite, MountKey::Mounts),
        (Some("/r"), Access::ReadOnly, MountKey::Ro),
        (Some("/w"), Access::ReadWrite, MountKey::Rw),
    ];
    assert_eq!(mounts, expected);
    let tmpfs: Vec<_> = run
        .tmpfs
        .iter()
        .map(|t| (t.target.to_str(), t.bytes))
        .collect();
    assert_eq!(tmpfs, [(Some("/t"), 1 << 20), (Some("/u"), 512 << 20)]);
    let public = run.public();
    let pair =
        |target: &str| serde_json::json!([format!("{}:{target}", real.join("work").display())]);
    assert_eq!((&public["ro"], &public["rw"]), (&pair("/r"), &pair("/w")));
    for args in [
        "--ro work:/x --rw work:/x -- true",
        "--mount work:/x --ro work:/x -- true",
        "--ro work:/x --tmpfs /x -- true",
        "--tmpfs /x --tmpfs /x:1MiB -- true",
    ] {
        let errors = resolve_in(dir.path(), args, &[], "").unwrap_err();
        assert!(
            errors.to_string().contains("give each target once"),
            "{args}: {errors}"
        );
    }
}

#[test]
fn a_directory_to_begin_in_is_relative_to_the_workspace() {
    let dir = current_dir();
    let real = dir.path().canonicalize().unwrap();
    for (args, expected) in [
        ("--workspace work -- true", real.join("work")),
        (
            "--workspace work --chdir deep/er -- true",
            real.join("work/deep/er"),
        ),
        ("--chdir /tmp -- true", "/tmp".into()),
    ] {
        let (run, _) = resolve_in(dir.path(), args, &[], "").unwrap();
        assert_eq!(run.chdir, expected, "{args}");
    }
}

#[test]
fn the_alias_of_a_key_is_accepted_in_every_source() {
    let from_file = resolve_args("--config run.toml -- true", &[], "directive = 'do'");
    assert_eq!(from_file.unwrap().0.task.as_deref(), Some("do"));
    let from_environment = resolve_args("-- true", &[("STOCKADE_DIRECTIVE", "do")], "");
    assert_eq!(from_environment.unwrap().0.task.as_deref(), Some("do"));
    let from_flag = resolve_args("--directive do -- true", &[], "");
    assert_eq!(from_flag.unwrap().0.task.as_deref(), Some("do"));
}

#[test]
fn service_links_and_the_variables_of_others_have_no_effect() {
    let environment = [
        ("STOCKADE_SERVICE_HOST", "10.0.0.1"),
        ("STOCKADE_SERVICE_PORT", "8090"),
        ("STOCKADE_SERVICE_PORT_HTTP", "8090"),
        ("STOCKADE_PORT", "tcp://10.0.0.1:8090"),
        ("STOCKADE_PORT_8090_TCP", "tcp://10.0.0.1:8090"),
        ("STOCKADE_PORT_8090_TCP_PROTO", "tcp"),
        ("STOCKADE_PORT_8090_TCP_PORT", "8090"),
        ("STOCKADE_PORT_8090_UDP_ADDR", "10.0.0.1"),
        ("STOCKADE_CONTROL_PLANE_SERVICE_HOST", "10.0.0.2"),
        ("STOCKADE_CONTROL_PLANE_PORT_80_SCTP", "sctp://10.0.0.2:80"),
        ("STOCKADE_EMPTY_PORT", ""),
        ("STOCKADE_ACTIONS_FD", "3"),
        ("STOCKADE_CLAIM", "0f"),
        ("STOCKADE_BLESS", "1"),
        ("STOCKADE_TEST_REQUIRE", "all"),
        ("STOCKADE_SEED_ENV", "0"),
        ("STOCKADE_TIMEOUT_SECONDS", ""),
        ("DIRECTIVE", "of the seed"),
        ("PORT", "80"),
    ];
    let (run, options) = resolve_args("-- true", &environment, "").unwrap();
    assert_eq!(run.task, None);
    assert_eq!(run.timeout, Duration::from_secs(600));
    assert_eq!(options.listen, Listen::Default);
}

#[test]
fn a_port_that_is_no_link_of_a_service_is_refused_with_the_way_to_choose_one() {
    for name in [
        "STOCKADE_PORT",
        "STOCKADE_LISTEN_PORT",
        "STOCKADE_MAX_STEPS_PORT",
        "STOCKADE_PORT_9000_TCP",
    ] {
        let errors = resolve_args("-- true", &[(name, "9000")], "").unwrap_err();
        let text = errors.to_string();
        assert!(text.contains(name), "{text}");
        assert!(text.contains("is an unknown key"), "{text}");
    }
    let errors = resolve_args("-- true", &[("STOCKADE_PORT", "9000")], "").unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("STOCKADE_LISTEN=ADDRESS:PORT"), "{text}");
}

#[test]
fn the_links_of_any_service_called_stockade_have_no_effect() {
    // The words of the shapes, and of our own keys, stand in the names of the services.
    for service in [
        "",
        "-api",
        "-2",
        "-port",
        "-service",
        "-port-80",
        "-config",
        "-task",
        "-limits-output",
        "-service-host",
        "-tcp",
        "-recording-on-full",
        "-service-port-http",
    ] {
        let service = format!("STOCKADE{}", service.replace('-', "_").to_ascii_uppercase());
        for link in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "SERVICE_PORT_STATUS_API",
            "PORT",
            "PORT_8090_TCP",
            "PORT_8090_TCP_PROTO",
            "PORT_8090_TCP_PORT",
            "PORT_8090_TCP_ADDR",
            "PORT_53_UDP",
            "PORT_53_UDP_ADDR",
            "PORT_9_SCTP_PORT",
        ] {
            let name = format!("{service}_{link}");
            let environment = [(name.as_str(), "tcp://10.0.0.1:8090")];
            let resolved = resolve_args("-- true", &environment, "");
            let (run, options) = resolved.unwrap_or_else(|error| panic!("{name}: {error}"));
            let set: Vec<&str> = run.origins.keys().map(String::as_str).collect();
            assert_eq!(
                (set, options.listen),
                (vec!["command"], Listen::Default),
                "{name}"
            );
        }
    }
}

#[test]
fn the_variable_names_the_file_and_the_flag_wins_over_it() {
    let dir = current_dir();
    std::fs::write(dir.path().join("one.toml"), "max_steps = 1\n").unwrap();
    let environment = [("STOCKADE_CONFIG", "one.toml")];
    let (run, _) = resolve_in(dir.path(), "-- true", &environment, "max_steps = 2").unwrap();
    assert_eq!(run.max_steps, 1);
    let (run, _) = resolve_in(dir.path(), "--config run.toml -- true", &environment, "").unwrap();
    assert_eq!(run.max_steps, 2);
}

#[test]
fn without_isolation_the_network_is_that_of_the_host() {
    let (run, _) = resolve_args("--isolation none -- true", &[], "").unwrap();
    assert_eq!(
        (run.isolation, run.network),
        (Isolation::None, Network::Host)
    );
}

#[test]
fn options_come_from_flags_then_from_the_environment() {
    let environment = [
        ("STOCKADE_LISTEN", "none"),
        ("STOCKADE_SOCKET", "none"),
        ("STOCKADE_RECORDINGS", "/environment"),
        ("STOCKADE_LOG_FORMAT", "json"),
        ("STOCKADE_LOG_LEVEL", "debug"),
        ("STOCKADE_STOP_EXIT_CODE", "7"),
        ("STOCKADE_TERMINATION_LOG", "/t"),
        ("XDG_RUNTIME_DIR", "/run/user/1"),
        ("XDG_STATE_HOME", "/state"),
    ];
    let dir = current_dir();
    let (_, options) = resolve_in(dir.path(), "-- true", &environment, "").unwrap();
    assert_eq!(options.listen, Listen::Off);
    assert_eq!(options.socket, Socket::Off);
    assert_eq!(options.recordings, Path::new("/environment"));
    assert_eq!(options.log_format, LogFormat::Json);
    assert_eq!(options.log_level, LogLevel::Debug);
    assert_eq!(options.stop_exit_code, Some(7));
    assert_eq!(options.termination_log, Path::new("/t"));

    let args = "--listen localhost:0 --workspace work --socket s.sock --recordings r --log-format human --log-level error --stop-exit-code 0 -- true";
    let (_, options) = resolve_in(dir.path(), args, &environment, "").unwrap();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(options.listen, Listen::Address(address));
    assert_eq!(options.socket, Socket::Path(dir.path().join("s.sock")));
    assert_eq!(options.recordings, dir.path().join("r"));
    assert_eq!(options.log_format, LogFormat::Human);
    assert_eq!(options.log_level, LogLevel::Error);
    assert_eq!(options.stop_exit_code, Some(0));

    let (_, options) = resolve_in(dir.path(), "-- true", &environment[7..], "").unwrap();
    assert_eq!(options.recordings, Path::new("/state/stockade/runs"));
    let runtime_dir = Some("/run/user/1".into());
    assert_eq!(options.socket, Socket::Default { runtime_dir });
}
