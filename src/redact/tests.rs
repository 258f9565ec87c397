use proptest::prelude::*;

use super::*;

fn redactor(secrets: &[(&str, &str)]) -> Redactor {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    Redactor::new(secrets.iter().map(owned))
}

fn streamed<'a>(redactor: &Redactor, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stream = StreamRedactor::new(redactor);
    for chunk in chunks {
        stream.push(chunk, &mut out);
        assert!(stream.held() <= MAX_HOLD);
    }
    stream.finish(&mut out);
    assert_eq!(stream.held(), 0);
    out
}

/// Fake tokens, put together here so that no scanner of the repository takes them for real ones.
fn token(prefix: &str, n_chars: usize) -> String {
    let chars = "a7Bc9DeF2gH".chars().cycle().take(n_chars);
    prefix.chars().chain(chars).collect()
}

fn pem(n_lines: usize) -> String {
    let lines = format!("{}\n", token("", 64)).repeat(n_lines);
    format!(
        "-----BEGIN {0}-----\n{lines}-----END {0}-----",
        "RSA PRIVATE KEY"
    )
}

#[test]
fn declared_secrets_are_replaced_in_all_their_forms() {
    let redactor = redactor(&[("DB PASS", "p\"ss w/rd+1"), ("key", "0123456789abcdef")]);
    let cases = [
        ("x p\"ss w/rd+1 y", "x [redacted:DB_PASS] y"),
        (
            "{\"a\":\"p\\\"ss w/rd+1\"}",
            "{\"a\":\"[redacted:DB_PASS]\"}",
        ),
        ("?q=p%22ss%20w%2Frd%2B1&r", "?q=[redacted:DB_PASS]&r"),
        ("?q=p%22ss%20w%2frd%2b1&r", "?q=[redacted:DB_PASS]&r"),
        ("?q=p%22ss+w%2Frd%2B1&r", "?q=[redacted:DB_PASS]&r"),
        ("dXNlcjowMTIzNDU2Nzg5YWJjZGVm", "dXNlcjo[redacted:key]"),
        (
            "0123456789abcdef0123456789abcdef",
            "[redacted:key][redacted:key]",
        ),
        ("0123456789abcde", "0123456789abcde"),
    ];
    for (text, expected) in cases {
        assert_eq!(redactor.redact_text(text), expected);
    }
}

#[test]
fn a_text_in_other_letters_is_found_where_json_writes_it_in_ascii() {
    let redactor = redactor(&[("key", "pässw\"rd-🦀")]);
    let written = r#"{"a":"p\u00e4ssw\"rd-\ud83e\udd80"}"#;
    assert_eq!(redactor.redact_text(written), r#"{"a":"[redacted:key]"}"#);
}

#[test]
fn short_values_are_named_and_not_replaced() {
    let redactor = redactor(&[("pin", "1234567"), ("key", "12345678")]);
    assert_eq!(redactor.too_short(), ["pin"]);
    assert_eq!(
        redactor.redact_text("1234567 12345678"),
        "1234567 [redacted:key]"
    );
}

#[test]
fn shapes_of_tokens_are_replaced_and_similar_words_stay() {
    let redactor = Redactor::default();
    let jwt = format!(
        "{}.{}.{}",
        token("eyJ", 20),
        token("eyJ", 30),
        token("", 43)
    );
    let upper = token("AKIA", 16).to_ascii_uppercase();
    let cases = [
        ("aws-access-key-id", upper.clone()),
        ("github-token", token("ghp_", 36)),
        ("github-token", token("ghs_", 36)),
        ("github-token", token("github_pat_", 82)),
        ("anthropic-key", token("sk-ant-api03-", 93)),
        ("openai-key", token("sk-proj-", 48)),
        ("openai-key", token("sk-", 48)),
        ("slack-token", token("xoxb-", 40)),
        ("google-api-key", token("AIza", 35)),
        ("npm-token", token("npm_", 36)),
        ("pypi-token", token("pypi-AgEI", 100)),
        ("gitlab-token", token("glpat-", 20)),
        ("stripe-key", token("sk_live_", 24)),
        ("private-key", pem(10)),
        ("private-key", pem(10).replace('\n', "\\n")),
        ("private-key", pem(200)),
        ("jwt", jwt.clone()),
    ];
    for (name, secret) in &cases {
        let expected = format!("<\x1b[31m[redacted:{name}]>");
        assert_eq!(
            redactor.redact_text(&format!("<\x1b[31m{secret}>")),
            expected
        );
    }
    let bearer = format!("authorization: Bearer {jwt}\r\nHost: a");
    assert_eq!(
        redactor.redact_text(&bearer),
        "authorization: [redacted:bearer-token]\r\nHost: a"
    );
    for text in [
        "npm_config_cache=/tmp npm_lifecycle_event",
        "task-ant-farm risk-proj-1 disk-0123456789012345678901234567890123456789",
        "Bearer tokens are described in RFC 6750, Authorization: Bearer $TOKEN",
        "grep -e '-----BEGIN RSA PRIVATE KEY-----' file; -----BEGIN CERTIFICATE-----\nMIIBIjANBgkqh",
        "-----BEGIN PRIVATE KEY----- is what such a block begins with.",
        "eyJhbGciOiJIUzI1NiJ9 eyJhbGciOiJIUzI1NiJ9.aGVsbG8gd29ybGQ.c2lnbmF0dXJl ASIA AKIAs",
        &format!("{upper}0"),
    ] {
        assert_eq!(redactor.redact_text(text), text);
    }
}

#[test]
fn overlapping_matches_are_replaced_together_under_the_first_name() {
    let redactor = redactor(&[
        ("a", "abcdefgh"),
        ("b", "efghijklmn"),
        ("c", "abcdefghij"),
        ("z", "zzzzzzzz"),
    ]);
    let cases = [
        ("-abcdefghi-", "-[redacted:a]i-"),
        ("-abcdefghij-", "-[redacted:c]-"),
        ("-abcdefghijklmn-", "-[redacted:c]-"),
        ("-zzzzzzzzzzzz-", "-[redacted:z]-"),
        ("abcdefghefghijklmn", "[redacted:a][redacted:b]"),
    ];
    for (text, expected) in cases {
        assert_eq!(redactor.redact_text(text), expected);
    }
}

#[test]
fn json_keeps_its_structure_whatever_the_secrets_are() {
    let bearer = token("Bearer ", 24);
    let redactor = redactor(&[
        ("number", "12345678"),
        ("syntax", "\",\"type\":\""),
        ("quoted", "pa\"ss\\word\n1"),
        ("step", "top_level_key"),
    ]);
    let cases = [
        (r#"{"a":1,"b":["x",null,true,-1.5e3]}"#.to_owned(), None),
        (r#"{"a":"x","type":"y"}"#.to_owned(), None),
        (r#"{"a":123456789,"b":-12345678}"#.to_owned(), None),
        (r#"{"top_level_key":1}"#.to_owned(), None),
        (
            r#"{"a":12345678,"b":[12345678]}"#.to_owned(),
            Some(r#"{"a":"[redacted:number]","b":["[redacted:number]"]}"#),
        ),
        (
            r#"{"a":{"top_level_key":0.10}}"#.to_owned(),
            Some(r#"{"a":{"[redacted:step]":0.10}}"#),
        ),
        (
            r#"{"a":"é pa\"ss\\word\n1 \u001b"}"#.to_owned(),
            Some(r#"{"a":"é [redacted:quoted] \u001b"}"#),
        ),
        (
            r#"{"a":"{\"b\":\"pa\\\"ss\\\\word\\n1\"}"}"#.to_owned(),
            Some(r#"{"a":"{\"b\":\"[redacted:quoted]\"}"}"#),
        ),
        (
            r#"{"a":"\",\"type\":\"","type":"y"}"#.to_owned(),
            Some(r#"{"a":"[redacted:syntax]","type":"y"}"#),
        ),
        (
            format!(r#"{{"h":{{"Authorization": "{bearer}"}}}}"#),
            Some(r#"{"h":{"Authorization": "[redacted:bearer-token]"}}"#),
        ),
        (format!(r#"{{"h":["{bearer}"]}}"#), None),
    ];
    for (text, expected) in cases {
        let mut payload = text.clone().into_bytes();
        let redaction = redactor.redact_json_object(&mut payload);
        assert_eq!(
            std::str::from_utf8(&payload).unwrap(),
            expected.unwrap_or(&text)
        );
        assert_eq!(
            redaction == Redaction::Changed,
            expected.is_some(),
            "{text}"
        );
    }
}

#[test]
fn a_key_in_an_encoded_string_is_found() {
    let mut payload = serde_json::json!({ "text": format!("cat key\n{}\n", pem(30)) })
        .to_string()
        .into_bytes();
    assert_eq!(
        Redactor::default().redact_json_object(&mut payload),
        Redaction::Changed
    );
    assert_eq!(payload, br#"{"text":"cat key\n[redacted:private-key]\n"}"#);
}

#[test]
fn a_stream_holds_a_possible_beginning_and_gives_it_back() {
    let mut out = Vec::new();
    let mut stream = StreamRedactor::new(&redactor(&[("pw", "password-1234")]));
    stream.push(b"Enter pass", &mut out);
    assert_eq!((out.as_slice(), stream.held()), (&b"Enter "[..], 4));
    stream.push(b"word: ", &mut out);
    assert_eq!(
        (out.as_slice(), stream.held()),
        (&b"Enter password: "[..], 0)
    );
    stream.push(b"pass", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"Enter password: pass");
}

#[test]
fn secrets_and_keys_beyond_the_limits_are_replaced_in_bounded_memory() {
    let long: String = (0..9_000).map(|n| format!("{n:05}-")).collect();
    let redactor = redactor(&[("long", &long)]);
    let text = format!("a{long}b{}c", pem(2_000));
    let expected = redactor.redact_text(&text).into_owned();
    assert_eq!(
        streamed(&redactor, text.as_bytes().chunks(4_096)),
        expected.as_bytes()
    );
    let (before_key, _) = expected.split_once('b').unwrap();
    assert_eq!(before_key, format!("a{}", "[redacted:long]".repeat(14)));
    assert_eq!(expected.matches("[redacted:private-key]").count(), 1);
}

#[test]
fn redacted_text_stays_as_it_is_when_redacted_again() {
    let redactor = redactor(&[("password", "password"), ("two words", "two_words")]);
    let once = redactor.redact_text("password two_words").into_owned();
    assert_eq!(once, "[redacted:secret] [redacted:secret]");
    assert_eq!(redactor.redact_text(&once), once);
}

#[test]
fn debug_shows_no_secret() {
    let redactor = redactor(&[("key", "0123456789abcdef"), ("pin", "1234")]);
    let mut stream = StreamRedactor::new(&redactor);
    stream.push(b"0123456789", &mut Vec::new());
    let shown = format!("{redactor:?} {stream:?}");
    assert_eq!(
        shown,
        "Redactor { n_secrets: 1, .. } StreamRedactor { held: 10, .. }"
    );
}

const SECRETS: &[(&str, &str)] = &[
    ("a", "aaaaaaaab"),
    ("prefix", "abababab"),
    ("longer", "abababababa"),
    ("b", "bbaabbaabb"),
    ("odd", "a\"b\\\n\u{e9}ab"),
    ("twelve", "12121212"),
    ("long", "abba1221abba1221abba1221abba1221-abba1221"),
];

/// Text of which most is the beginning of a secret, a token or a key.
fn texts() -> impl Strategy<Value = String> {
    let secret = (0..SECRETS.len(), 0..50_usize).prop_map(|(idx, max_bytes)| {
        crate::text::cut_at_char(SECRETS[idx].1, max_bytes).to_owned()
    });
    let jwt = format!(
        "{}.{}.{}",
        token("eyJ", 20),
        token("eyJ", 30),
        token("", 20)
    );
    let shape = (0..7_usize, 0..400_usize).prop_map(move |(idx, max_bytes)| {
        let text = match idx {
            0 => pem(4),
            1 => pem(1).replace('\n', "\\n"),
            2 => format!("Authorization: {}", token("Bearer ", 30)),
            3 => jwt.clone(),
            4 => token("AKIA", 16).to_ascii_uppercase(),
            5 => token("sk-", 60),
            _ => token("github_pat_", 40),
        };
        crate::text::cut_at_char(&text, max_bytes).to_owned()
    });
    let part = prop_oneof![4 => "[ab12\n\" .:é-]{0,12}", 4 => secret, 2 => shape, 1 => "\\PC{0,8}"];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_stream_gives_what_the_whole_gives_however_it_is_split(
        text in texts(),
        sizes in proptest::collection::vec(0..24_usize, 0..200),
    ) {
        let redactor = redactor(SECRETS);
        let mut rest = text.as_bytes();
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks.push(rest);
        let whole = redactor.redact_text(&text);
        prop_assert_eq!(streamed(&redactor, chunks), whole.as_bytes());
        let one_by_one = streamed(&redactor, text.as_bytes().chunks(1));
        prop_assert_eq!(one_by_one, whole.as_bytes());
    }

    #[test]
    fn no_declared_secret_is_left_in_any_door(text in texts(), number in 0..100_000_000_u64) {
        let redactor = redactor(SECRETS);
        let redacted = redactor.redact_text(&text);
        let value = serde_json::json!({ "text": text, "nested": { &text: [number, 12_121_212, text] } });
        let mut payload = value.to_string().into_bytes();
        redactor.redact_json_object(&mut payload);
        let read: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        prop_assert_eq!(read["text"].as_str(), Some(&*redacted));
        for (_, secret) in SECRETS {
            prop_assert!(!redacted.contains(secret));
            for form in forms::forms(secret.as_bytes()) {
                prop_assert!(memchr::memmem::find(&payload, &form).is_none() || form == b"12121212");
            }
        }
    }
}
