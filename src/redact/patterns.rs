//! Secrets that are known by their shape.
//!
//! Owns the table of shapes. It never holds a declared value. Invariant: at one place at most one shape can match,
//! and each begins with a literal of ASCII characters that JSON does not escape.

use super::rule::{Class, Tail};

/// A shape with the name that stands in its replacement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    /// Stable name: readers of logs search for it.
    pub(super) name: &'static str,
    /// What every such secret begins with.
    pub(super) literals: &'static [&'static str],
    /// What follows.
    pub(super) tail: Tail,
}

/// All shapes. The minimum lengths are those of the providers' shortest tokens or a little less, so that words which
/// merely begin alike stay.
pub(super) const PATTERNS: &[Pattern] = &[
    Pattern {
        name: "aws-access-key-id",
        literals: &["AKIA", "ASIA"],
        tail: Tail::Exactly(Class::UpperOrDigit, 16),
    },
    Pattern {
        name: "github-token",
        literals: &["ghp_", "gho_", "ghs_", "ghu_", "ghr_"],
        tail: Tail::Run(Class::Alphanumeric, 36),
    },
    Pattern {
        name: "github-token",
        literals: &["github_pat_"],
        tail: Tail::Run(Class::Word, 30),
    },
    Pattern {
        name: "anthropic-key",
        literals: &["sk-ant-"],
        tail: Tail::Run(Class::Base64Url, 20),
    },
    Pattern {
        name: "openai-key",
        literals: &["sk-proj-", "sk-svcacct-", "sk-admin-"],
        tail: Tail::Run(Class::Base64Url, 20),
    },
    Pattern {
        name: "openai-key",
        literals: &["sk-"],
        tail: Tail::MixedRun(Class::Alphanumeric, 40),
    },
    Pattern {
        name: "slack-token",
        literals: &[
            "xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-",
        ],
        tail: Tail::Run(Class::Base64Url, 20),
    },
    Pattern {
        name: "google-api-key",
        literals: &["AIza"],
        tail: Tail::Run(Class::Base64Url, 35),
    },
    Pattern {
        name: "npm-token",
        literals: &["npm_"],
        tail: Tail::Run(Class::Alphanumeric, 36),
    },
    Pattern {
        name: "pypi-token",
        literals: &["pypi-AgEI"],
        tail: Tail::Run(Class::Base64Url, 40),
    },
    Pattern {
        name: "gitlab-token",
        literals: &["glpat-"],
        tail: Tail::Run(Class::Base64Url, 20),
    },
    Pattern {
        name: "stripe-key",
        literals: &["sk_live_", "rk_live_"],
        tail: Tail::Run(Class::Alphanumeric, 16),
    },
    Pattern {
        name: "private-key",
        literals: &["-----BEGIN "],
        tail: Tail::Pem,
    },
    Pattern {
        name: "jwt",
        literals: &["eyJ"],
        tail: Tail::Jwt,
    },
    Pattern {
        name: "bearer-token",
        literals: &["Bearer ", "bearer ", "BEARER "],
        tail: Tail::Bearer,
    },
];
