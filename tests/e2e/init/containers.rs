//! An init in real containers.

use std::process::Output;

use crate::harness::engine::Engine;
use crate::harness::until;

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn a_container_ends_with_the_exit_code_of_its_command() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let run = |flags: &[&str], words: &[&str]| {
        let all: Vec<&str> = ["/bin/stockade", "init"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        engine.run(flags, &all)
    };
    for (words, code) in [
        (&["--", "sh", "-c", "exit 7"][..], 7),
        (&["--", "sh", "-c", "kill -9 $$"], 137),
        (&["--", "/no/such/program"], 127),
        (&["--", "/etc/passwd"], 126),
        (
            &["--compat", "tini", "-e", "7", "--", "sh", "-c", "exit 7"],
            0,
        ),
        (&["--compat", "dumb-init", "--", "/no/such/program"], 2),
    ] {
        for flags in [
            &["--rm"][..],
            &[
                "--rm",
                "--user=1000:1000",
                "--read-only",
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
            ],
            &["--rm", "--init"],
        ] {
            // With --init the engine puts another init before it, which is ours in the place of tini.
            let output = run(flags, words);
            assert_eq!(
                output.status.code(),
                Some(code),
                "{flags:?} {words:?}: {}",
                text(&output)
            );
        }
    }
}

#[test]
fn docker_stop_ends_a_container_whose_shell_would_not_hear_it() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    // The shell waits for its child and passes nothing on; the group gets it from the init.
    for (name, flags) in [
        ("init-own", &["--"][..]),
        ("init-dumb", &["--compat", "dumb-init", "--"]),
    ] {
        let words = ["/bin/stockade", "init"];
        let command = ["sh", "-c", "sleep 600; exit 3"];
        let all: Vec<&str> = words.iter().chain(flags).chain(&command).copied().collect();
        let named = format!("--name={name}");
        let started = engine.run(&["--detach", &named], &all);
        assert!(started.status.success(), "{}", text(&started));
        until("the command runs", || {
            let processes = engine.docker(["top", name]);
            text(&processes).contains("sleep 600").then_some(())
        });
        let began = std::time::Instant::now();
        let ended = engine.docker(["stop", "--time=30", name]);
        assert!(ended.status.success(), "{}", text(&ended));
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
        let code = engine.docker(["inspect", "--format={{.State.ExitCode}}", name]);
        assert_eq!(text(&code).trim(), "143", "{name}");
        assert!(engine.docker(["rm", name]).status.success());
    }
}

#[test]
fn in_the_pid_namespace_of_another_container_it_reaps_and_ends_its_own_and_nobody_else() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let started = engine.run(&["--detach", "--name=init-shared"], &["sleep", "6001"]);
    assert!(started.status.success(), "{}", text(&started));
    let script = "(sh -c 'sleep 6002 & exit 0'); sleep 6003 & [ $$ -ne 1 ] && exit 5";
    let command = [
        "/bin/stockade",
        "init",
        "--grace",
        "0",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = engine.run(&["--rm", "--pid=container:init-shared"], &command);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let left = text(&engine.docker(["top", "init-shared"]));
    assert!(left.contains("sleep 6001"), "{left}");
    assert!(
        !left.contains("sleep 6002") && !left.contains("sleep 6003"),
        "{left}"
    );
    let removed = engine.docker(["rm", "--force", "init-shared"]);
    assert!(removed.status.success(), "{}", text(&removed));
}
