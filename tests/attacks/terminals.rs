//! Attempts at terminals: the operator's, and what a terminal of one's own may be asked.

use super::attempt::{Attempt, Class, Round};

const fn operator(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Terminals, name, attack, twin).round(Round::Operator)
}

const fn own(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Terminals, name, attack, twin).round(Round::OwnTerminal)
}

const DEPENDS: &str = "a host may forbid it (dev.tty.legacy_tiocsti)";

pub const ATTEMPTS: &[Attempt] = &[
    operator("open-operators", "open-terminal", "open-own-pair"),
    operator("type-into-operators", "type-into x", "open-own-pair").unproven(DEPENDS),
    operator("attributes-of-operators", "attributes", "open-own-pair"),
    operator("take-foreground", "take-foreground", "own-terminal"),
    operator(
        "operators-by-name",
        "open-by-name {terminal}",
        "own-terminal",
    ),
    operator("type-into-input", "type-into-input x", "open-own-pair").unproven(DEPENDS),
    operator("console-by-input", "ask-console-by-input", "own-terminal"),
    operator(
        "discipline-by-input",
        "line-discipline-by-input",
        "own-terminal",
    ),
    own("type-into-own", "type-into x", "window-size").unproven(DEPENDS),
    own("type-past-filter", "type-past-filter x", "window-size").unproven(DEPENDS),
    own("console-requests", "ask-console", "attributes"),
    own("line-discipline", "line-discipline", "attributes"),
    own(
        "operators-from-own",
        "open-by-name /dev/console",
        "open-by-name /dev/tty",
    )
    .unproven("a host may have no console"),
];
