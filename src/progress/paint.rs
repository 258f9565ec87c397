//! Colours of our own words.

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// Ours are shown, and those of the workload pass.
    Kept,
    /// None (<https://no-color.org>, or no terminal).
    None,
}

/// How a word is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Stands out.
    Strong,
    /// Stands back.
    Quiet,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Wants attention.
    Warning,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warning => "33",
        }
    }
}

impl Colours {
    /// What the environment wants of a terminal: `NO_COLOR`, set and not empty, and `TERM=dumb` want none.
    pub fn wanted(no_color: Option<&std::ffi::OsStr>, term: Option<&std::ffi::OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        if refused || term.is_none_or(|term| term.is_empty() || term == "dumb") {
            Self::None
        } else {
            Self::Kept
        }
    }

    /// `text` in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        match (self, tone) {
            (Self::None, _) | (Self::Kept, Tone::Plain) => text.to_owned(),
            (Self::Kept, tone) => format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()),
        }
    }
}
