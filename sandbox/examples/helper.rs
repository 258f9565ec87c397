//! The launch helper for tests and benches, and a supervisor that tests can kill.
//!
//! `helper sandbox-helper` is the launch helper. `helper drive full|none MARK` builds a sandbox, launches three processes
//! with MARK in their arguments, one of them daemonised, writes `ready` and waits for the end of its input.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use stockade_sandbox::{Helper, Isolation, Launch, Policy, helper_main};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sandbox-helper"] => helper_main(),
        ["drive", "full", mark] => report(drive(Isolation::Full, mark)),
        ["drive", "none", mark] => report(drive(Isolation::None, mark)),
        _ => ExitCode::from(2),
    }
}

fn report(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "drive: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn drive(isolation: Isolation, mark: &str) -> Result<(), Box<dyn Error>> {
    let helper = Helper::spawn(&std::env::current_exe()?, &["sandbox-helper"])?;
    let mut policy = Policy::new(isolation);
    policy.group = Some(mark.to_owned());
    let sandbox = helper.build(policy.plan()?, Duration::from_secs(10))?;
    let script = format!("sleep {mark} & setsid setsid -f sleep {mark}; exec sleep {mark}");
    let null = || File::options().read(true).write(true).open("/dev/null");
    sandbox.launch(Launch {
        argv: ["sh", "-c", &script].map(OsString::from).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdio: [null()?.into(), null()?.into(), null()?.into()],
        extra: Vec::new(),
    })?;
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
