//! What must hold for all rules and every host that is asked for.

use std::net::IpAddr;

use stockade::egress::host::{Host, MAX_NAME_BYTES, Target};
use stockade::egress::range::special;
use stockade::egress::{AllowList, BlockList, Policy};

/// The first line is a list of rules, the second one of blocked names, each further one a target.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.split('\n');
    let mut policy = Policy::default();
    for entry in lines.next().unwrap_or_default().split(',') {
        let before = policy.allow.clone();
        if policy.allow.add(entry).is_err() {
            assert_eq!(policy.allow, before, "what is refused changes nothing");
        }
    }
    for entry in lines.next().unwrap_or_default().split(',') {
        let _ = policy.block.add(entry);
    }
    check_spelling(&policy);
    for line in lines {
        check_address(&policy, line);
        check_target(&policy, line);
    }
}

/// A list that is written and read again is the same list.
fn check_spelling(policy: &Policy) {
    let entries: Vec<String> = policy.allow.clone().into();
    let again = AllowList::try_from(entries).expect("our own spelling is read");
    assert_eq!(again.to_string(), policy.allow.to_string());
    let entries: Vec<String> = policy.block.clone().into();
    let again = BlockList::try_from(entries).expect("our own spelling is read");
    assert_eq!(again, policy.block);
}

fn check_target(policy: &Policy, line: &str) {
    let Ok(target) = Target::parse(line, Some(443)) else {
        return;
    };
    assert_ne!(target.port, 0);
    let shown = target.to_string();
    assert_eq!(Target::parse(&shown, None).as_ref(), Ok(&target), "{shown}");
    match &target.host {
        Host::Name(name) => {
            let name = name.as_str();
            assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
            let is_plain =
                |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            assert!(name.bytes().all(is_plain), "{name:?}");
            assert!(name.split('.').all(|label| !label.is_empty()), "{name:?}");
            assert!(name.parse::<IpAddr>().is_err(), "{name:?}");
        }
        Host::Address(address) => {
            assert_eq!(
                *address,
                address.to_canonical(),
                "a mapped address is the one that it carries"
            );
            let is_named = policy.allow.addresses().any(|named| named == *address);
            assert!(is_named || policy.decide(&target).is_err(), "{address}");
        }
    }
    let decision = policy.decide(&target).map(ToString::to_string);
    // Another spelling of the same host changes nothing.
    let (host, port) = (target.host.to_string(), target.port);
    let upper = Target::parse(&format!("{}:{port}", host.to_uppercase()), None);
    let upper = upper.expect("the same host");
    assert_eq!(policy.decide(&upper).map(ToString::to_string), decision);
    if matches!(target.host, Host::Name(_)) {
        let dotted = Target::parse(&format!("{host}.:{port}"), None).expect("the same host");
        assert_eq!(policy.decide(&dotted).map(ToString::to_string), decision);
        // What is below a blocked name is blocked, and nothing allows it.
        let below = format!("x.{host}:{port}");
        if let (Err(denial), Ok(below)) = (policy.decide(&target), Target::parse(&below, None))
            && denial.code() == "blocked"
        {
            // By whichever entry: there may be one for the longer name, too.
            let denied = policy.decide(&below).expect_err("blocked");
            assert_eq!(denied.code(), denial.code());
        }
    }
    let closed = Policy::default();
    assert!(
        closed.decide(&target).is_err(),
        "an empty list denies everything"
    );
}

fn check_address(policy: &Policy, line: &str) {
    let Ok(address) = line.parse::<IpAddr>() else {
        return;
    };
    match (special(address), policy.admit(address)) {
        (None, admitted) => assert!(admitted.is_ok(), "{address}"),
        (Some(special), Ok(())) => assert!(special.can_be_granted(), "{address} is {special}"),
        (Some(special), Err(why)) => assert_eq!(special, why),
    }
    if let IpAddr::V4(v4) = address {
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        assert!(policy.admit(mapped).is_err(), "{mapped}");
        let [a, b, c, d] = v4.octets();
        let translated: IpAddr = format!("64:ff9b::{a}.{b}.{c}.{d}")
            .parse()
            .expect("an address");
        assert_eq!(special(translated), special(address), "{translated}");
    }
}
