use std::path::PathBuf;

use stockade_sandbox::{Finding, Refusal, Trial};

use super::{Advice, all};
use crate::doctor::host::{Engine, Host};
use crate::doctor::storage::Storage;
use crate::doctor::{Built, Port};

fn host(engine: Engine) -> Host {
    Host {
        kernel: "6.8.0".to_owned(),
        machine: "x86_64",
        uid: 1000,
        engine,
        is_filtered: engine != Engine::None,
        no_new_privileges: false,
        apparmor_restricts_user_namespaces: false,
        max_user_namespaces: Some(96_365),
        unprivileged_user_namespaces: None,
        security_modules: Vec::new(),
        is_proc_covered: engine != Engine::None,
    }
}

fn refusing(trials: &[Trial]) -> Vec<Finding> {
    let refusal = |trial| {
        trials.contains(&trial).then(|| Refusal {
            call: "unshare(CLONE_NEWUSER)".to_owned(),
            errno: Some(1),
        })
    };
    let findings = Trial::ALL.into_iter().map(|trial| Finding {
        trial,
        refusal: refusal(trial),
    });
    findings.collect()
}

fn advice(host: &Host, trials: &[Trial]) -> Vec<Advice> {
    let sandbox = Built::Refused {
        reason: "cannot create the namespaces".to_owned(),
    };
    let recordings = Storage {
        dir: PathBuf::from("/recordings"),
        sync_ms: Some(0.1),
        free_bytes: Some(1),
        error: None,
    };
    let port = Port {
        address: None,
        error: None,
    };
    all(host, &refusing(trials), &sandbox, &recordings, &port)
}

/// The change that is advised first.
fn first(host: &Host, trials: &[Trial]) -> String {
    advice(host, trials).first().unwrap().change.clone()
}

#[test]
fn each_engine_has_its_own_way_to_allow_namespaces() {
    let words = [
        (Engine::Docker, "--security-opt seccomp=unconfined"),
        (Engine::Podman, "unmask=ALL"),
        (Engine::Kubernetes, "hostUsers: false"),
        (Engine::Gvisor, "runtime class"),
        (Engine::None, "CONFIG_USER_NS"),
    ];
    for (engine, word) in words {
        let change = first(&host(engine), &[Trial::UserNamespace]);
        assert!(change.contains(word), "{engine:?}: {change}");
    }
}

#[test]
fn the_switch_that_is_in_the_way_is_the_one_that_is_named() {
    let none = host(Engine::None);
    let refused = [Trial::IdMaps];
    let named = [
        (
            Host {
                max_user_namespaces: Some(0),
                ..none.clone()
            },
            "user.max_user_namespaces",
        ),
        (
            Host {
                unprivileged_user_namespaces: Some(false),
                ..none.clone()
            },
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            Host {
                apparmor_restricts_user_namespaces: true,
                ..none.clone()
            },
            "apparmor_parser",
        ),
        (
            Host {
                is_filtered: true,
                ..none
            },
            "a seccomp filter is on this process",
        ),
    ];
    for (host, word) in named {
        let change = first(&host, &refused);
        assert!(change.contains(word), "{word}: {change}");
    }
}

#[test]
fn what_is_allowed_wants_no_change() {
    // Only the control group is missing, since there is no sandbox at all.
    let found = advice(&host(Engine::None), &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].change.contains("Delegate=yes"));
}

#[test]
fn a_fresh_proc_that_is_refused_has_a_remedy_of_its_own() {
    let found = advice(&host(Engine::Docker), &[Trial::Procfs]);
    let change = &found[0].change;
    assert_eq!(change, "docker run --security-opt systempaths=unconfined");
    // Without a pid namespace there cannot be one, and the namespaces are what to ask for.
    let found = advice(&host(Engine::Docker), &[Trial::Procfs, Trial::PidNamespace]);
    assert!(!found.iter().any(|one| one.why.contains("fresh /proc")));
}

#[test]
fn a_kernel_that_was_started_without_landlock_is_told_how() {
    let mut without = host(Engine::None);
    without.security_modules = vec!["capability".to_owned(), "yama".to_owned()];
    let change = first(&without, &[Trial::Landlock]);
    assert!(change.contains("lsm=landlock,capability,yama"), "{change}");
}

#[test]
fn a_place_and_a_port_that_cannot_be_used_are_named() {
    let recordings = Storage {
        dir: PathBuf::from("/recordings"),
        sync_ms: None,
        free_bytes: None,
        error: Some("/recordings: Read-only file system".to_owned()),
    };
    let port = Port {
        address: Some("127.0.0.1:80".parse().unwrap()),
        error: Some("Permission denied".to_owned()),
    };
    let sandbox = Built::Refused {
        reason: String::new(),
    };
    let found = all(&host(Engine::None), &[], &sandbox, &recordings, &port);
    let whys: Vec<_> = found.iter().map(|one| one.why.as_str()).collect();
    assert!(
        whys.iter()
            .any(|why| why.contains("/recordings: Read-only"))
    );
    assert!(whys.iter().any(|why| why.contains("127.0.0.1:80")));
}
