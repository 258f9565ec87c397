//! The presets that come with the program, as files.
//!
//! Owns their texts. Never reads one: what its keys mean is checked where run descriptions are.

/// A preset that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetFile {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// The file, TOML.
    pub text: &'static str,
}

/// Every preset, the default first.
pub const PRESETS: [PresetFile; 3] = [
    PresetFile {
        name: "default",
        text: include_str!("../presets/default.toml"),
    },
    PresetFile {
        name: "nested",
        text: include_str!("../presets/nested.toml"),
    },
    PresetFile {
        name: "dev",
        text: include_str!("../presets/dev.toml"),
    },
];
