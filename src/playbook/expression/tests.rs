//! What expressions yield and what is refused in them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::model::{Parameter, ParameterKind, StepStatus};
use super::*;

fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, kind| Parameter {
        name: name.to_owned(),
        description: String::new(),
        kind,
        is_required: false,
        default: None,
    };
    vec![
        parameter("word", ParameterKind::Text { pattern: None }),
        parameter("n", ParameterKind::Integer { min: 0, max: 9 }),
        parameter("dry", ParameterKind::Boolean),
        parameter("token", ParameterKind::Secret { pattern: None }),
    ]
}

/// The value of an expression, or what is wrong with it and where.
fn value(written: &str) -> String {
    let shown = |error: ExpressionError| format!("{}: {error}", error.idx);
    let expression = match Expression::parse(written) {
        Ok(expression) => expression,
        Err(error) => return shown(error),
    };
    let steps = [("a".to_owned(), vec!["x".to_owned()])];
    let names = Names {
        parameters: &parameters(),
        steps: &steps,
        all_steps: &["a".to_owned(), "b".to_owned()],
    };
    if let Err(error) = expression.kind(names) {
        return shown(error);
    }
    let arguments = BTreeMap::from([
        ("word".to_owned(), Argument::Text("it's".to_owned())),
        ("n".to_owned(), Argument::Integer(3)),
        ("dry".to_owned(), Argument::Boolean(true)),
    ]);
    let state = StepState {
        status: StepStatus::Failed,
        exit: Some(7),
        outputs: BTreeMap::from([("x".to_owned(), "12".to_owned())]),
    };
    let states = BTreeMap::from([("a".to_owned(), state)]);
    let scope = Scope {
        arguments: &arguments,
        steps: &states,
        has_failed: false,
    };
    match expression.value(scope) {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_yield_what_the_docs_say() {
    for (written, expected) in [
        ("'a'", "\"a\""),
        ("'it''s' == params.word", "true"),
        ("\"a\"\"b\"", "\"a\\\"b\""),
        (r"'\n'", "\"\\\\n\""),
        ("-3", "-3"),
        ("params.n", "3"),
        ("!params.dry", "false"),
        ("!!params.dry", "true"),
        ("params.n == 3 && params.dry", "true"),
        ("params.n != 3 || !params.dry", "false"),
        ("true || false && false", "true"),
        ("(true || false) && false", "false"),
        ("params.n<=3", "true"),
        ("params.n > 3", "false"),
        ("steps.a.outputs.x == '12'", "true"),
        ("number(steps.a.outputs.x) >= 12", "true"),
        (
            "number(params.word) == 1",
            "number() was given a text that is no whole number",
        ),
        ("steps.a.status", "\"failed\""),
        ("steps.a.exit == 7", "true"),
        ("run.failed", "false"),
        ("contains(params.word, 't''')", "true"),
        ("starts_with(params.word, 's')", "false"),
        ("ends_with(params.word, 's')", "true"),
        ("matches(params.word, '^it')", "true"),
        ("false && number(params.word) == 1", "false"),
    ] {
        assert_eq!(value(written), expected, "{written}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (written, expected) in [
        (
            "",
            "0: the end; give a name, a text in quotes, a number, true or false",
        ),
        ("params.n = 3", "9: the character '='; write == to compare"),
        (
            "params.dry & true",
            "11: the character '&'; write && for and",
        ),
        (
            "params.dry and true",
            "11: the word and behind a whole expression; write && for and",
        ),
        ("not params.dry", "0: the word not; write ! for not"),
        (
            "params.n + 1",
            "9: the character '+'; use names, texts in quotes, numbers and == != < <= > >= && || ! ( )",
        ),
        (
            "1 < 2 < 3",
            "6: < behind a whole expression; join conditions with && or ||",
        ),
        ("(true", "5: the end; close the bracket with )"),
        (
            "'a",
            "0: a text that is not closed; close it with the quote that opened it",
        ),
        (
            "99999999999999999999",
            "0: a number that has no 64 bits; give a whole number between -2^63 and 2^63 - 1",
        ),
        (
            "params",
            "6: the end; use params.NAME, steps.ID.outputs.NAME, steps.ID.status, steps.ID.exit or run.failed",
        ),
        (
            "params.wrd",
            "0: the unknown parameter wrd; use params.word",
        ),
        (
            "params.zzzzzz",
            "0: the unknown parameter zzzzzz; declare it under parameters: word, n, dry, token",
        ),
        (
            "steps.b.status",
            "0: the step b, which has not run at this place; refer to steps that stand before this one",
        ),
        (
            "steps.zzz.status",
            "0: the unknown step zzz; refer to a step before this one: a",
        ),
        (
            "steps.a.outputs.y",
            "0: the unknown output y; name an output of the step a: x",
        ),
        (
            "steps.a.stdout",
            "8: the unknown name steps.a.stdout; use params.NAME, steps.ID.outputs.NAME, steps.ID.status, steps.ID.exit or run.failed",
        ),
        (
            "env.HOME",
            "0: the unknown name env; use params.NAME, steps.ID.outputs.NAME, steps.ID.status, steps.ID.exit or run.failed; put a text in quotes",
        ),
        (
            "params.n == '3'",
            "12: a text beside a whole number; compare values of one kind; number() makes a whole number of a text",
        ),
        (
            "params.word < 'x'",
            "0: a text; < <= > >= compare whole numbers; number() makes one of a text",
        ),
        (
            "params.token == 'x'",
            "0: a secret; a secret reaches a step by env and is never compared",
        ),
        (
            "contains(params.token, 'x')",
            "9: a secret; a secret reaches a step by env and is never compared",
        ),
        ("params.word && true", "0: a text; && and || take booleans"),
        ("contains('a')", "0: contains() with 1 arguments; give it 2"),
        (
            "contain('a', 'b')",
            "0: the unknown function contain; use contains",
        ),
        (
            "matches('a', params.word)",
            "13: a pattern that is no text in quotes; give the pattern itself, as in matches(params.branch, '^v[0-9]+$')",
        ),
        (
            "matches('a', '(')",
            "13: a pattern that is no regular expression; give a regular expression such as '^v[0-9]+$'",
        ),
    ] {
        assert_eq!(value(written), expected, "{written}");
    }
}

#[test]
fn expressions_have_limits() {
    let nested = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(value(&nested(MAX_EXPRESSION_DEPTH - 1)), "true");
    assert_eq!(
        value(&nested(MAX_EXPRESSION_DEPTH)),
        "32: brackets and ! nested deeper than 32; nest less deeply"
    );
    let long = "true || ".repeat(200);
    assert!(value(&long).contains("more than 1,000 characters"));
    let calls = format!("{}'a'{}", "number(".repeat(100), ")".repeat(100));
    assert!(value(&calls).contains("nested deeper than 32"));
}

#[test]
fn a_text_yields_each_expression_once() {
    let arguments = BTreeMap::from([
        ("a".to_owned(), Argument::Text("${{ params.b }}".to_owned())),
        ("b".to_owned(), Argument::Text("}} $${{".to_owned())),
    ]);
    let steps = BTreeMap::new();
    let scope = Scope {
        arguments: &arguments,
        steps: &steps,
        has_failed: true,
    };
    for (written, expected) in [
        ("", ""),
        ("plain $ { } }} {{", "plain $ { } }} {{"),
        ("${{params.a}}", "${{ params.b }}"),
        ("${{ params.b }}${{ params.a }}", "}} $${{${{ params.b }}"),
        ("$${{ '}}' }}", "$}}"),
        ("${{ \"${{\" }}", "${{"),
        ("${{ run.failed }}", "true"),
        ("é${{ -1 }}é", "é-1é"),
    ] {
        let rendered = Template::parse(written).map(|template| template.render(scope));
        assert_eq!(rendered, Ok(Ok(expected.to_owned())), "{written}");
    }
    for (written, expected) in [
        (
            "é ${{ params.a",
            "2: ${{ without }}; close it with }}, or write ${{ '${{' }} for the signs themselves",
        ),
        (
            "é ${{ x }}",
            "6: the unknown name x; use params.NAME, steps.ID.outputs.NAME, steps.ID.status, steps.ID.exit or run.failed; put a text in quotes",
        ),
        (
            "${{ 'a }}",
            "0: ${{ without }}; close it with }}, or write ${{ '${{' }} for the signs themselves",
        ),
    ] {
        let error = Template::parse(written).unwrap_err();
        assert_eq!(format!("{}: {error}", error.idx), expected, "{written}");
    }
}

proptest! {
    #[test]
    fn no_expression_panics(written in "[a-z0-9.'\"()!&|=<>, ${}\\\\é-]{0,60}") {
        let _ = value(&written);
        let _ = Template::parse(&format!("${{{{{written}")).is_ok();
        let _ = OutputExpression::parse(&written).is_ok();
        let _ = OutputExpression::parse(&format!("stdout.{written}")).is_ok();
    }

    #[test]
    fn a_text_in_quotes_yields_itself(text in "[ -~é😀]{0,40}") {
        let written = format!("'{}'", text.replace('\'', "''"));
        prop_assert_eq!(value(&written), format!("{text:?}"));
    }
}
