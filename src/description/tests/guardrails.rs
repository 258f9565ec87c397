//! Bounds of the guardrails that are in harmony.

use super::resolve_args;
use crate::guardrail::Guardrails;

#[test]
fn what_can_be_reached_is_accepted_and_the_defaults_always_are() {
    let guardrails = |args: &str, file: &str| {
        let resolved = resolve_args(args, &[], file);
        resolved.map(|(description, _)| description.guardrails)
    };
    let defaults = Guardrails::default();
    // A short run has defaults that are out of its reach; it asked for none of them.
    for args in ["-- true", "--max-steps 1 -- true", "--max-steps 20 -- true"] {
        assert_eq!(guardrails(args, ""), Ok(defaults), "{args}");
    }
    for (args, file, expected) in [
        (
            "--config run.toml --max-steps 21 -- true",
            "guardrails.stuck_cycle = 3",
            defaults,
        ),
        (
            "--config run.toml --max-steps 14 -- true",
            "guardrails.stuck_cycle = 2",
            Guardrails {
                stuck_cycle: 2,
                ..defaults
            },
        ),
        (
            "--config run.toml --max-steps 9 -- true",
            "guardrails.max_consecutive_errors = 9",
            Guardrails {
                max_consecutive_errors: 9,
                ..defaults
            },
        ),
        (
            "--config run.toml -- true",
            "guardrails = { max_consecutive_errors = 0, stuck_cycle = 0, stuck_hint = 0, stuck_warn = 0, stuck_stop = 0 }",
            Guardrails {
                max_consecutive_errors: 0,
                stuck_cycle: 0,
                stuck_hint: 0,
                stuck_warn: 0,
                stuck_stop: 0,
            },
        ),
        (
            "--config run.toml -- true",
            "guardrails = { stuck_hint = 2, stuck_warn = 0, stuck_stop = 3 }",
            Guardrails {
                stuck_hint: 2,
                stuck_warn: 0,
                stuck_stop: 3,
                ..defaults
            },
        ),
    ] {
        assert_eq!(guardrails(args, file), Ok(expected), "{file}");
    }
}
