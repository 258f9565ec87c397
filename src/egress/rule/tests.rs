use super::*;

fn policy(allow: &[&str], block: &[&str]) -> Policy {
    let texts = |entries: &[&str]| -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    };
    Policy {
        allow: AllowList::try_from(texts(allow)).unwrap(),
        block: BlockList::try_from(texts(block)).unwrap(),
    }
}

/// The rule that allows, or the code of the denial.
fn decision(policy: &Policy, target: &str) -> String {
    match policy.decide(&Target::parse(target, Some(443)).unwrap()) {
        Ok(rule) => rule.to_string(),
        Err(denial) => denial.code().to_owned(),
    }
}

#[test]
fn an_empty_list_denies_everything() {
    let policy = policy(&[], &[]);
    for target in ["example.com", "127.0.0.1", "[::1]:80", "a.b:1"] {
        assert_eq!(decision(&policy, target), "no-rule", "{target}");
    }
}

#[test]
fn rules_match_at_the_boundaries_of_labels_and_at_their_ports() {
    let policy = policy(
        &[
            "example.com",
            "*.crates.io",
            ".debian.org",
            "registry.example:5000",
            "10.1.2.3",
            "127.0.0.1:8080",
            "[2001:4860::1]:443",
        ],
        &[],
    );
    for (target, expected) in [
        ("example.com", "example.com"),
        ("EXAMPLE.com.", "example.com"),
        ("example.com:80", "example.com"),
        ("example.com:22", "port"),
        ("www.example.com", "no-rule"),
        ("evilexample.com", "no-rule"),
        ("example.com.evil.org", "no-rule"),
        ("static.crates.io", "*.crates.io"),
        ("a.b.crates.io:80", "*.crates.io"),
        ("crates.io", "no-rule"),
        ("notcrates.io", "no-rule"),
        ("debian.org", ".debian.org"),
        ("deb.debian.org", ".debian.org"),
        ("registry.example:5000", "registry.example:5000"),
        ("registry.example:443", "port"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:22", "port"),
        ("10.1.2.4", "no-rule"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::ffff:127.0.0.1]:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8081", "port"),
        ("127.0.0.2:8080", "no-rule"),
        ("[2001:4860:0::1]", "[2001:4860::1]:443"),
    ] {
        assert_eq!(decision(&policy, target), expected, "{target}");
    }
}

#[test]
fn a_star_stands_for_every_name_and_for_no_address() {
    let policy = policy(&["*"], &[]);
    assert_eq!(decision(&policy, "anything.example"), "*");
    for target in ["1.1.1.1", "[2606:4700::1111]", "169.254.169.254:80"] {
        assert_eq!(decision(&policy, target), "no-rule", "{target}");
    }
}

/// Regression 16 of the predecessor: `www.` before a blocked name, and a dot behind it, passed.
#[test]
fn a_blocked_name_is_denied_with_all_that_is_below_it_whatever_allows_it() {
    for form in [
        "facebook.com",
        "*.facebook.com",
        ".facebook.com",
        "FaceBook.com.",
    ] {
        let policy = policy(&["*", "www.facebook.com"], &[form]);
        for target in [
            "facebook.com",
            "www.facebook.com",
            "a.b.facebook.com",
            "WWW.FACEBOOK.COM.",
            "facebook.com.",
            "facebook.com:80",
        ] {
            assert_eq!(decision(&policy, target), "blocked", "{form}: {target}");
        }
        for target in ["notfacebook.com", "facebook.com.example.org"] {
            assert_eq!(decision(&policy, target), "*", "{form}: {target}");
        }
    }
}

#[test]
fn texts_that_are_no_rules_are_refused_with_the_reason() {
    for (text, expected) in [
        ("", RuleError::Host(HostError::Empty)),
        ("https://example.com", RuleError::Scheme),
        ("example.com/path", RuleError::Scheme),
        ("*example.com", RuleError::Wildcard),
        ("a.*.com", RuleError::Wildcard),
        ("*.*.com", RuleError::Wildcard),
        ("*.", RuleError::Host(HostError::Empty)),
        ("*..com", RuleError::Host(HostError::EmptyLabel)),
        ("user@example.com", RuleError::Host(HostError::Character)),
        ("example.com:0", RuleError::Host(HostError::Port)),
        ("example.com:http", RuleError::Host(HostError::Port)),
        ("::1", RuleError::Host(HostError::Brackets)),
        ("127.1", RuleError::Host(HostError::Number)),
        ("localhost", RuleError::Localhost),
        ("localhost:8080", RuleError::Localhost),
        (".localhost", RuleError::Localhost),
        ("127.0.0.1", RuleError::NeedsPort(Special::Loopback)),
        ("[::1]", RuleError::NeedsPort(Special::Loopback)),
        ("169.254.169.254", RuleError::NeedsPort(Special::Metadata)),
        ("0.0.0.0:80", RuleError::Nowhere(Special::Unspecified)),
        ("224.0.0.1:80", RuleError::Nowhere(Special::Multicast)),
        (
            "[2002:7f00:1::]:80",
            RuleError::Nowhere(Special::Translated),
        ),
        ("private:0.0.0.0/0", RuleError::Private),
        ("private:127.0.0.0/8", RuleError::Private),
        ("private:10.0.0.1", RuleError::Private),
        ("Private:10", RuleError::Private),
        ("private.:10", RuleError::Private),
    ] {
        assert_eq!(AllowList::default().add(text), Err(expected), "{text}");
    }
    for (text, expected) in [
        ("*", RuleError::Wildcard),
        ("*.gov.*", RuleError::Wildcard),
        ("10.0.0.1", RuleError::Address),
        ("[::1]", RuleError::Address),
        ("a.example:443", RuleError::Port),
        ("", RuleError::Host(HostError::Empty)),
    ] {
        assert_eq!(BlockList::default().add(text), Err(expected), "{text}");
    }
    let mut full = AllowList::default();
    for idx in 0..MAX_ENTRIES {
        full.add(&format!("h{idx}.example")).unwrap();
    }
    assert_eq!(full.add("one.more"), Err(RuleError::TooMany));
}

/// Regression 16 of the predecessor: addresses in other clothes passed.
#[test]
fn names_lead_only_to_public_addresses_and_to_networks_that_were_named() {
    let closed = policy(&["*"], &[]);
    let opened = policy(&["*", "private:10.1.0.0/16", "private:100.64.0.0/10"], &[]);
    for (text, in_closed, in_opened) in [
        ("93.184.216.34", true, true),
        ("2606:4700::1111", true, true),
        ("10.1.2.3", false, true),
        ("10.2.2.3", false, false),
        ("100.64.0.1", false, true),
        ("100.100.100.200", false, false),
        ("127.0.0.1", false, false),
        ("::ffff:127.0.0.1", false, false),
        ("::ffff:10.1.2.3", false, false),
        ("64:ff9b::a9fe:a9fe", false, false),
        ("198.18.0.1", false, false),
        ("169.254.169.254", false, false),
        ("fd00:ec2::254", false, false),
    ] {
        let address = text.parse().unwrap();
        assert_eq!(closed.admit(address).is_ok(), in_closed, "{text}");
        assert_eq!(opened.admit(address).is_ok(), in_opened, "{text}");
    }
}

#[test]
fn a_list_is_told_in_one_spelling_and_read_again_as_itself() {
    let list = policy(&["Example.COM.", "*.A.b:8443", "private:10.0.0.0/8"], &[]).allow;
    assert_eq!(
        list.to_string(),
        "example.com,*.a.b:8443,private:10.0.0.0/8"
    );
    let again: Vec<String> = list.clone().into();
    assert_eq!(AllowList::try_from(again), Ok(list));
}
