//! `stockade completions` and `man`: what shells and man(1) know of the commands, made from the commands themselves.
//!
//! Owns no text of its own: names, help and values come from the one definition that also reads the command line.

use std::io;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Command, ValueEnum};
use clap_complete::shells::{Bash, Fish, Zsh};

use super::help::unknown;
use super::results::Results;
use super::{FAILURE, notice};

/// Name of the program in both.
const NAME: &str = "stockade";

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct CompletionArguments {
    /// The shell that reads it
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Shells for which completions can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Which page.
#[derive(Debug, clap::Args)]
pub struct ManArguments {
    /// The command; without one, the page of stockade itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints completions: 0, or 125 when they could not be written.
pub fn completions(arguments: &CompletionArguments, command: Command) -> ExitCode {
    written(&completion(arguments.shell, command))
}

/// Prints a man page: 0, 2 for a command that there is not, 125 when it could not be written.
pub fn man(arguments: &ManArguments, command: Command) -> ExitCode {
    match page(arguments.command.as_deref(), command) {
        Some(Ok(page)) => written(&page),
        Some(Err(error)) => {
            notice::error(&format!("cannot write the page: {error}"));
            ExitCode::from(FAILURE)
        }
        None => unknown(arguments.command.as_deref().unwrap_or_default()),
    }
}

/// What a flag may be given that has a few words of its own; it may take more, as `--isolation` takes lists of layers.
const WORDS: [(&str, &[&str]); 10] = [
    ("adapter", &["none", "jsonl"]),
    ("config-format", &["toml", "yaml", "json"]),
    ("log-format", &["human", "json"]),
    ("log-level", &["error", "warn", "info", "debug", "trace"]),
    ("durability", &["written", "durable"]),
    ("isolation", &["best", "full", "container", "none"]),
    ("net", &["none", "host", "allow="]),
    ("preset", &["default", "nested", "dev"]),
    ("progress", &["auto", "live", "plain", "log", "none"]),
    ("workspace-mode", &["read-write", "read-only", "overlay"]),
];

/// The command with these words, which only completions know: what is given is checked by the one validator.
fn with_words(command: Command) -> Command {
    let mut command = command.mut_args(|argument| {
        let name = argument.get_long().unwrap_or_default();
        match WORDS.iter().find(|(flag, _)| *flag == name) {
            Some((_, words)) => argument.value_parser(PossibleValuesParser::new(words.iter())),
            None => argument,
        }
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|known| known.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, with_words);
    }
    command
}

fn completion(shell: Shell, command: Command) -> Vec<u8> {
    let mut command = with_words(command);
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(Bash, &mut command, NAME, &mut script),
        Shell::Zsh => clap_complete::generate(Zsh, &mut command, NAME, &mut script),
        Shell::Fish => clap_complete::generate(Fish, &mut command, NAME, &mut script),
    }
    without_hidden_flags(&script, &command)
}

/// Takes out the flags that the program gives only to itself: the generators list hidden ones, too.
fn without_hidden_flags(script: &[u8], command: &Command) -> Vec<u8> {
    let flags = |is_hidden: bool| {
        command
            .get_subcommands()
            .flat_map(Command::get_arguments)
            .filter(move |argument| argument.is_hide_set() == is_hidden)
            .filter_map(clap::Arg::get_long)
    };
    let hidden: Vec<&str> = flags(true)
        .filter(|name| !flags(false).any(|visible| visible == *name))
        .collect();
    let is_hidden = |word: &str| {
        word.strip_prefix("--")
            .is_some_and(|name| hidden.contains(&name))
    };
    let mut kept = String::new();
    for line in String::from_utf8_lossy(script).split_inclusive('\n') {
        // bash has one line of words for a command; zsh and fish have a line for each flag.
        if line.trim_start().starts_with("opts=") {
            let words: Vec<&str> = line.split(' ').filter(|word| !is_hidden(word)).collect();
            kept.push_str(&words.join(" "));
        } else if !hidden.iter().any(|name| {
            line.contains(&format!("--{name}["))
                || line.contains(&format!("--{name}=["))
                || line.split_whitespace().any(|word| word == *name)
        }) {
            kept.push_str(line);
        }
    }
    kept.into_bytes()
}

/// The page of a command in the form of man(7); none when there is no such command.
fn page(name: Option<&str>, mut command: Command) -> Option<io::Result<Vec<u8>>> {
    command.build();
    let command = match name {
        None => command,
        Some(name) => named(name, &command)?.clone(),
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command)
        .source(concat!("stockade ", env!("CARGO_PKG_VERSION")))
        .manual("Stockade Manual")
        .render(&mut page);
    Some(rendered.map(|()| page))
}

/// The command of that name; one of another command by both, as `config-check`.
fn named<'a>(name: &str, command: &'a Command) -> Option<&'a Command> {
    command.get_subcommands().find_map(|known| {
        let rest = name.strip_prefix(known.get_name())?;
        match rest.strip_prefix('-') {
            None => rest.is_empty().then_some(known),
            Some(rest) => named(rest, known),
        }
    })
}

fn written(bytes: &[u8]) -> ExitCode {
    let mut results = Results::stdout();
    results.bytes(bytes);
    results.end(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn a_page_says_of_what_program_and_version_it_is() {
        for (name, title) in [
            (None, "stockade"),
            (Some("config-show"), "stockade-config-show"),
        ] {
            let page = String::from_utf8(page(name, command()).unwrap().unwrap()).unwrap();
            let heading = page.lines().find(|line| line.starts_with(".TH")).unwrap();
            let expected = format!(
                ".TH {title} 1  \"stockade {}\" \"Stockade Manual\"",
                env!("CARGO_PKG_VERSION")
            );
            assert_eq!(heading.trim_end(), expected);
        }
    }

    /// Every visible flag of every command, and the commands themselves, by the names of their pages.
    fn words() -> Vec<(String, Vec<String>)> {
        let mut command = command();
        command.build();
        words_below("", &command)
    }

    fn words_below(prefix: &str, command: &Command) -> Vec<(String, Vec<String>)> {
        let subcommands = command.get_subcommands().flat_map(|sub| {
            let name = format!("{prefix}{}", sub.get_name());
            let flags = sub.get_arguments().filter(|flag| !flag.is_hide_set());
            let flags = flags.filter_map(|flag| flag.get_long().map(str::to_owned));
            let below = words_below(&format!("{name}-"), sub);
            std::iter::once((name, flags.collect())).chain(below)
        });
        subcommands
            .filter(|(name, _)| !name.split('-').any(|word| word == "help"))
            .collect()
    }

    #[test]
    fn completions_know_every_command_and_flag() {
        let words = words();
        assert!(
            words
                .iter()
                .any(|(name, flags)| name == "run" && flags.len() > 20)
        );
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completion(shell, command())).unwrap();
            for (name, flags) in &words {
                let last = name.rsplit('-').next().unwrap();
                assert!(script.contains(last), "{shell:?} lacks {name}");
                for flag in flags {
                    assert!(
                        script.contains(flag.as_str()),
                        "{shell:?} lacks {name} --{flag}"
                    );
                }
            }
            assert!(!script.contains("from-guardian"), "{shell:?}");
        }
    }

    #[test]
    fn every_word_of_a_flag_is_one_that_the_validator_takes() {
        use clap::Parser;
        #[derive(Parser)]
        struct Given {
            #[command(flatten)]
            flags: crate::cli::flags::RunFlags,
        }
        let directory = tempfile::tempdir().unwrap();
        let takes = |flag: &str, word: &str| {
            let flag = format!("--{flag}");
            let words = [
                "run",
                "--recordings",
                "/var/none",
                &flag,
                word,
                "--",
                "true",
            ];
            let given = Given::try_parse_from(words).unwrap();
            crate::cli::flags::resolve(given.flags, Vec::new(), directory.path()).is_ok()
        };
        for (flag, words) in WORDS {
            for word in words {
                assert!(takes(flag, word), "--{flag} {word}");
            }
            assert!(!takes(flag, "nonsense!"), "--{flag}");
        }
    }

    #[test]
    fn bash_offers_the_words_of_a_flag() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("completion.bash");
        std::fs::write(&script, completion(Shell::Bash, command())).unwrap();
        let ask = format!(
            "source {}; COMP_WORDS=(stockade run --isolation ''); COMP_CWORD=3; _stockade stockade '' --isolation; echo ${{COMPREPLY[@]}}",
            script.display()
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &ask])
            .output();
        let answer = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(answer.trim(), "best full container none");
    }

    #[test]
    fn every_command_has_a_man_page_with_every_flag() {
        let top = page(None, command()).unwrap().unwrap();
        let top = String::from_utf8(top).unwrap();
        for (name, flags) in words() {
            let is_below = name.starts_with("config-") || name.starts_with("policy-");
            assert!(is_below || top.contains(&name), "stockade(1) lacks {name}");
            let page = page(Some(&name), command()).unwrap().unwrap();
            // roff writes a hyphen as `\-`.
            let page = String::from_utf8(page).unwrap().replace("\\-", "-");
            for flag in flags {
                assert!(
                    page.contains(&format!("--{flag}")),
                    "stockade-{name}(1) lacks --{flag}"
                );
            }
        }
        assert!(words().iter().any(|(name, _)| name == "config-check"));
        for unknown in ["sing", "config-", "configcheck", "run-check"] {
            assert!(page(Some(unknown), command()).is_none(), "{unknown}");
        }
    }
}
