//! Foreign text made harmless for a terminal.
//!
//! Pure. Of what a workload prints, a terminal gets letters, tabs as blanks and, where colours are wanted, plain colour
//! sequences (SGR, ECMA-48 8.3.117). Every other control sequence is dropped whole; every other control character becomes
//! U+FFFD. So nothing can move the cursor, clear the screen, change the title or answer to a question.

use unicode_width::UnicodeWidthChar as _;

use super::paint::Colours;

/// Longest colour sequence that passes, in bytes; longer ones are no colours.
const MAX_SGR_BYTES: usize = 64;

/// Blanks for a tab. Tab stops are not kept: they depend on where the line stands.
const TAB: &str = "    ";

/// What one line becomes: harmless text without line ends. Of a line that a carriage return began anew, the last state
/// counts, as on a terminal.
pub fn line(text: &str, colours: Colours) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut clean = String::with_capacity(text.len());
    let mut has_colour = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        match character {
            '\u{1b}' => {
                let (sequence, behind) = escape(rest);
                if colours == Colours::Kept && is_colour(sequence) {
                    clean.push_str(sequence);
                    has_colour = true;
                }
                rest = behind;
                continue;
            }
            '\t' => clean.push_str(TAB),
            '\n' => clean.push(' '),
            // The C1 controls are sequences of their own on some terminals; the directional ones reorder what follows.
            character if character.is_control() || is_directional(character) => {
                clean.push('\u{fffd}');
            }
            character => clean.push(character),
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    if has_colour {
        clean.push_str("\u{1b}[0m");
    }
    clean
}

/// Text without any colour, for our own lines.
pub fn plain(text: &str) -> String {
    line(text, Colours::None)
}

/// Text for one line of ours: every run of white space is one blank, and at most `max_chars` characters are shown.
pub fn summary(text: &str, max_chars: usize) -> String {
    let mut words = String::new();
    for word in text.split_whitespace() {
        if words.chars().count() > max_chars {
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    let clean = plain(&words);
    if clean.chars().count() <= max_chars {
        return clean;
    }
    let mut cut: String = clean.chars().take(max_chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// JSON as one line, for machines: it means the same, and shown on a terminal it is text alone.
pub fn json(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // No string of JSON holds one as it is.
            '\n' | '\r' | '\t' => line.push(' '),
            // These stand in strings alone.
            character if character.is_control() || is_directional(character) => {
                line.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => line.push(character),
        }
    }
    line
}

/// Columns that a text without control characters takes.
pub fn width(text: &str) -> usize {
    text.chars()
        .map(|character| character.width().unwrap_or(0))
        .sum()
}

/// As much of a text without control characters as fits into that many columns.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut taken = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        // One column is kept for the sign that something is missing.
        if taken + wide + 1 > columns {
            break;
        }
        taken += wide;
        cut.push(character);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// Text without control characters as lines of at most that many columns, broken between words where that can be; what does
/// not fit into `max_lines` ends with `…`.
pub fn wrap(text: &str, columns: usize, max_lines: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in text.split_whitespace() {
        let wide = width(word);
        if taken > 0 && taken + 1 + wide > columns {
            lines.push(String::new());
            taken = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        line.push_str(word);
        taken += wide;
    }
    if lines.len() > max_lines {
        let rest = lines.split_off(max_lines.saturating_sub(1));
        lines.push(rest.join(" "));
    }
    lines.iter().map(|line| fit(line, columns)).collect()
}

/// Splits a control sequence from the beginning of a text (ECMA-48 5.4 and 5.6).
fn escape(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let end = match bytes.get(1) {
        Some(b'[') => {
            let body = bytes.get(2..).unwrap_or_default();
            let n_body = body
                .iter()
                .take_while(|byte| (0x20..0x40).contains(*byte))
                .count();
            match body.get(n_body) {
                Some(0x40..=0x7e) => n_body + 3,
                // Damaged: what is not part of it is shown.
                Some(_) | None => n_body + 2,
            }
        }
        // Strings end at BEL or ST; one without an end takes the line.
        Some(b']' | b'P' | b'_' | b'^' | b'X') => {
            let body = bytes.get(2..).unwrap_or_default();
            let bell = memchr::memchr(7, body).map(|at| at + 3);
            let terminator = memchr::memmem::find(body, b"\x1b\\").map(|at| at + 4);
            match (bell, terminator) {
                (Some(bell), Some(terminator)) => bell.min(terminator),
                (Some(end), None) | (None, Some(end)) => end,
                (None, None) => bytes.len(),
            }
        }
        Some(0x20..=0x2f) => {
            let body = bytes.get(1..).unwrap_or_default();
            let n_body = body
                .iter()
                .take_while(|byte| (0x20..0x30).contains(*byte))
                .count();
            n_body + 2
        }
        Some(0x30..=0x7e) => 2,
        Some(_) | None => 1,
    };
    text.split_at_checked(end.min(text.len()))
        .unwrap_or(("", text.get(1..).unwrap_or_default()))
}

/// True for `ESC [ digits ; : m`.
fn is_colour(sequence: &str) -> bool {
    let parameters = sequence
        .strip_prefix("\u{1b}[")
        .and_then(|rest| rest.strip_suffix('m'));
    sequence.len() <= MAX_SGR_BYTES
        && parameters.is_some_and(|parameters| {
            parameters
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':')
                && !may_hide(parameters)
        })
}

/// True for parameters that conceal text (8), and for those whose meaning is not sure. What follows 38, 48 and 58 is a colour:
/// `5;n` or `2;r;g;b`, or the same behind colons (ITU-T T.416 13.1.8).
fn may_hide(parameters: &str) -> bool {
    let number = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u16>().ok(),
    };
    let mut parts = parameters.split(';');
    while let Some(part) = parts.next() {
        let (first, has_more) = match part.split_once(':') {
            Some((first, _)) => (first, true),
            None => (part, false),
        };
        match number(first) {
            None | Some(8) => return true,
            Some(38 | 48 | 58) if !has_more => {
                let n_arguments = match parts.next().map(number) {
                    None => return false,
                    Some(Some(5)) => 1,
                    Some(Some(2)) => 3,
                    Some(_) => return true,
                };
                if parts
                    .by_ref()
                    .take(n_arguments)
                    .any(|part| part.contains(':'))
                {
                    return true;
                }
            }
            Some(_) => {}
        }
    }
    false
}

fn is_directional(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_is_wrapped_between_words_and_loses_nothing_but_what_has_no_line() {
        let text = "cannot open the door: no key; take the one below the mat";
        let all = wrap(text, 20, 9);
        assert_eq!(all.join(" "), text);
        assert!(all.iter().all(|line| width(line) <= 20), "{all:?}");
        assert_eq!(
            wrap(text, 20, 2),
            ["cannot open the", "door: no key; take …"]
        );
        assert_eq!(wrap("abcdefgh", 4, 3), ["abc…"]);
        assert_eq!(wrap("", 4, 3), [""]);
    }

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_do_more_than_show_text_is_dropped() {
        for (given, shown) in [
            ("plain", "plain"),
            ("a\tb", "a    b"),
            ("10%\r 20%\r 30%\r\n", " 30%"),
            ("\u{1b}[2J\u{1b}[1;1Hx", "x"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]52;c;aGk=\u{1b}\\x", "x"),
            ("\u{1b}Pq#0\u{1b}\\x", "x"),
            ("\u{1b}[?1049hx\u{1b}[6n", "x"),
            ("\u{1b}cx", "x"),
            ("\u{1b}(0x", "x"),
            ("\u{9b}2Jx", "\u{fffd}2Jx"),
            ("a\u{8}\u{7}b", "a\u{fffd}\u{fffd}b"),
            ("\u{202e}txt", "\u{fffd}txt"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
        ] {
            assert_eq!(plain(given), shown, "{given:?}");
        }
    }

    #[test]
    fn json_is_one_line_that_means_the_same_and_moves_nothing() {
        let text = "{\n\t\"a\": \"\\u001b[2J\u{9b}2J\u{7f}\u{202e}ü\"\r\n}";
        let line = json(text);
        assert_eq!(line, "{  \"a\": \"\\u001b[2J\\u009b2J\\u007f\\u202eü\"  }");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(text));
    }

    #[test]
    fn colours_pass_where_they_are_wanted_and_end_with_their_line() {
        let red = "\u{1b}[1;31mred";
        assert_eq!(line(red, Colours::Kept), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(line(red, Colours::None), "red");
        for hiding in [
            "8",
            "08",
            "0;08",
            "38;5;1;8",
            "48;2;1;2;3;8",
            "8:1",
            "38;8",
            "38;5;1:2;8",
        ] {
            let text = format!("\u{1b}[{hiding}mhidden");
            assert_eq!(line(&text, Colours::Kept), "hidden", "{hiding}");
        }
        for shown in [
            "38;5;8",
            "48;5;8",
            "58;2;8;8;8",
            "38:5:8",
            "1;38;5;8;4",
            "",
            "38",
        ] {
            let text = format!("\u{1b}[{shown}mgrey");
            assert_eq!(
                line(&text, Colours::Kept),
                format!("{text}\u{1b}[0m"),
                "{shown}"
            );
        }
    }

    #[test]
    fn wide_letters_count_twice_and_what_is_cut_says_so() {
        assert_eq!(width("日本"), 4);
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(summary("a\n  b\u{1b}[2J c", 80), "a b c");
        assert_eq!(summary("abcdef", 4), "abc…");
    }

    proptest! {
        #[test]
        fn no_text_reaches_the_terminal_with_a_control_character(text in "[\\x00-\\x7f\u{80}-\u{a0}a\u{1b}\\[\\]]{0,64}") {
            let clean = line(&text, Colours::None);
            prop_assert!(!clean.chars().any(char::is_control), "{:?}", clean);
            let coloured = line(&text, Colours::Kept);
            let mut rest = coloured.as_str();
            while let Some(at) = rest.find('\u{1b}') {
                let (sequence, behind) = escape(&rest[at..]);
                prop_assert!(is_colour(sequence), "{:?}", sequence);
                rest = behind;
            }
            prop_assert!(fit(&clean, 10).chars().count() <= 64 && width(&fit(&clean, 10)) <= 10);
        }
    }
}
