//! Programs with their arguments, wherever a description has one.

use super::checker::{Checker, plain_text};
use super::error::ErrorKind;
use super::maps::MAX_ARGUMENT_BYTES;
use super::value::{Given, Value};

/// Most arguments of a command; a longer list is a mistake, and it is shown in every status.
pub(super) const MAX_ARGUMENTS: usize = 4_096;

impl Checker<'_> {
    /// Checks each argument of the list `items` that stands at `name`; those at fault are left out.
    pub(super) fn arguments(&mut self, name: &str, items: &[Given]) -> Vec<String> {
        let mut command = Vec::with_capacity(items.len());
        for (idx, item) in items.iter().enumerate() {
            let name = format!("{name}[{idx}]");
            match plain_text(item) {
                Some("") if idx == 0 => {
                    let expected = "give the name or path of a program";
                    self.faults.add(ErrorKind::Invalid, name, item, expected);
                }
                Some(text) if text.len() > MAX_ARGUMENT_BYTES => {
                    let expected = "give at most 131,071 bytes an argument";
                    self.faults
                        .add(ErrorKind::OutOfBounds, name, item, expected);
                }
                Some(text) => command.push(text.to_owned()),
                None => {
                    let expected = match &item.value {
                        Value::Text(_) => "give text without NUL".to_owned(),
                        _ => format!("give text, in quotes: {:?}", item.shown()),
                    };
                    self.faults.add(ErrorKind::Invalid, name, item, expected);
                }
            }
        }
        command
    }

    /// A command below a key: a list of text with a program first; none when it is at fault.
    pub(super) fn inner_command(&mut self, name: &str, given: &Given) -> Option<Vec<String>> {
        let expected = "give a list of 1 to 4,096 texts: the program and its arguments";
        match &given.value {
            Value::List(items) if items.is_empty() || items.len() > MAX_ARGUMENTS => {
                self.faults
                    .add_excess(name, items.len(), &given.origin, expected);
                None
            }
            Value::List(items) => {
                let command = self.arguments(name, items);
                (command.len() == items.len()).then_some(command)
            }
            _ => {
                self.faults.add(ErrorKind::Invalid, name, given, expected);
                None
            }
        }
    }
}
