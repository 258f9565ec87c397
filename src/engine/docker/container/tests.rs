//! Every default is closed, and what a container cannot honour is refused.

use super::*;

fn id() -> RunId {
    "fox".parse().unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn faults(description: Value) -> Vec<(String, String)> {
    let refused = accept(&id(), &object(description), None).err().unwrap();
    let faults = refused.details();
    let word = |fault: &Value, name: &str| fault[name].as_str().unwrap().to_owned();
    let both = |fault: &Value| (word(fault, "key"), word(fault, "code"));
    faults.as_array().unwrap().iter().map(both).collect()
}

fn made(spec: &Value) -> ContainerCreateBody {
    body(&Wanted {
        owner: "0123456789ab",
        run_id: &id(),
        image: "base".to_owned(),
        user: 65532,
        program: Path::new("/opt/stockade"),
        recordings: Path::new("/srv/recordings"),
        token: &Secret::new("a-token-of-a-run".to_owned()),
        trace: None,
        spec,
    })
}

#[test]
fn every_default_is_closed() {
    let body = made(&json!({"network": "none", "grace_seconds": 8,
        "limits": {"memory": 1 << 30, "swap": 0, "pids": 100, "cpus": 1.5}}));
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(
        host.security_opt,
        Some(vec!["no-new-privileges".to_owned()])
    );
    assert_eq!(
        (host.privileged, host.pid_mode, host.ipc_mode),
        (None, None, None)
    );
    assert_eq!(host.memory, Some((1 << 30) + OWN_MEMORY_BYTES));
    assert_eq!(host.memory_swap, host.memory);
    assert_eq!(host.pids_limit, Some(132));
    assert_eq!(host.nano_cpus, Some(1_500_000_000));
    assert_eq!(body.user.as_deref(), Some("65532:65532"));
    assert_eq!(body.stop_timeout, Some(13));
    // Of the host there is the program, and the directory of this run alone.
    let mounts: Vec<_> = host
        .mounts
        .unwrap()
        .into_iter()
        .map(|mount| (mount.source.unwrap(), mount.read_only))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/opt/stockade".to_owned(), Some(true)),
            ("/srv/recordings/fox".to_owned(), Some(false)),
        ]
    );
    assert_eq!(host.binds, None);
}

#[test]
fn a_limit_that_is_not_asked_for_is_none_and_a_network_is_the_engines() {
    let body = made(&json!({"network": "host", "limits": {"memory": 0, "pids": 0, "cpus": null}}));
    let host = body.host_config.unwrap();
    assert_eq!(
        (host.memory, host.memory_swap, host.pids_limit),
        (None, None, None)
    );
    assert_eq!(host.nano_cpus, None);
    assert_eq!(host.network_mode.as_deref(), Some("bridge"));
}

#[test]
fn what_only_this_host_has_is_refused_all_at_once() {
    let refused = faults(json!({
        "image": "base", "workspace": "/etc", "rw": ["/root"],
        "credentials": {"A": {"file": "/etc/shadow"}, "B": "plain", "C": {"value": "x"}},
    }));
    let names: Vec<_> = refused.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, ["workspace", "rw", "credentials.A"]);
    assert!(refused.iter().all(|(_, code)| code == "UNSUPPORTED"));
    let missing = ("image".to_owned(), "MISSING".to_owned());
    assert_eq!(faults(json!({"command": ["true"]})), [missing]);
    for image in [json!(7), json!(""), json!("-v"), json!("a b")] {
        let invalid = ("image".to_owned(), "INVALID_VALUE".to_owned());
        assert_eq!(faults(json!({"image": image})), [invalid]);
    }
}

#[test]
fn the_image_goes_to_the_engine_and_the_rest_to_the_run() {
    let description = object(json!({"command": ["true"], "image": "base"}));
    let accepted = accept(&id(), &description, Some("other")).ok().unwrap();
    assert_eq!(accepted.image.as_deref(), Some("base"));
    let given = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(given(&accepted.checked), json!({"command": ["true"]}));
    assert_eq!(
        given(&accepted.delivered),
        json!({"command": ["true"], "workspace": "/workspace"})
    );
    let accepted = accept(&id(), &object(json!({})), Some("other"))
        .ok()
        .unwrap();
    assert_eq!(accepted.image.as_deref(), Some("other"));
}

#[test]
fn a_container_is_ours_by_every_label_or_not_at_all() {
    let ours = made(&json!({})).labels.unwrap();
    assert!(is_ours(&ours, "0123456789ab", &id()));
    assert!(!is_ours(&ours, "ba9876543210", &id()));
    assert!(!is_ours(&ours, "0123456789ab", &"owl".parse().unwrap()));
    for name in ours.keys() {
        let mut others = ours.clone();
        others.remove(name);
        assert!(!is_ours(&others, "0123456789ab", &id()), "{name}");
    }
}
