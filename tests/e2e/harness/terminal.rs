//! A terminal into which a test types and from which it reads: a tmux server of its own, with one shell in it.
//!
//! Invariant: what a test reads is the screen as a person sees it, and the server ends with the value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::need::need;
use super::wait::DEADLINE;

/// Pause between two looks at the screen: each look is a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// No status line, so that the window has all rows; and scrolled lines are kept.
const SETTINGS: &str = "set -g status off\nset -g history-limit 20000\n";

/// What the shell shows when it waits for a line.
const PROMPT: &str = "ready> ";

/// A terminal with an interactive POSIX shell, whose working directory is [`Terminal::directory`].
pub struct Terminal {
    tmux: PathBuf,
    directory: tempfile::TempDir,
}

impl Terminal {
    /// Opens one of `columns` and `rows`; none, with the skip said aloud, where tmux is not installed.
    pub fn open(columns: u16, rows: u16) -> Option<Self> {
        let terminal = Self {
            tmux: need("tmux")?,
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(terminal.directory().join("settings"), SETTINGS).unwrap();
        let shell = format!("env PS1='{PROMPT}' sh");
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, &shell]);
        terminal.until_shows(PROMPT);
        Some(terminal)
    }

    /// Working directory of the shell.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Types `line` and the return key.
    pub fn type_line(&self, line: &str) {
        self.type_keys(line);
        self.press("Enter");
    }

    /// Types `keys` as they are.
    pub fn type_keys(&self, keys: &str) {
        self.tmux(&["send-keys", "-l", keys]);
    }

    /// Presses one key by its tmux name: `C-c`, `C-z`, `Enter`, `q`.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Runs `command` in the foreground of the shell, with its own environment and TERM; then the shell prints
    /// `exit=` and the exit status.
    pub fn run(&self, command: &Command) {
        let mut words = vec!["exec env -i TERM=\"$TERM\"".to_owned()];
        let quote = |text: &std::ffi::OsStr| {
            let text = text.to_str().unwrap();
            format!("'{}'", text.replace('\'', "'\\''"))
        };
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                words.push(format!("{}={}", name.to_str().unwrap(), quote(value)));
            }
        }
        words.push(quote(command.get_program()));
        words.extend(command.get_args().map(quote));
        std::fs::write(self.directory().join("go"), words.join(" ")).unwrap();
        self.type_line("sh ./go; echo exit=$?");
    }

    /// The lines in sight.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The lines in sight, behind all that were scrolled away.
    pub fn history(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// The lines in sight with the control sequences that give them their looks.
    pub fn styled_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Makes the window `columns` wide and `rows` high.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// What stty(1) says of the terminal.
    pub fn settings(&self) -> String {
        let output = Command::new("stty")
            .arg("-F")
            .arg(self.device())
            .arg("-a")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Path of the terminal's own device.
    pub fn device(&self) -> PathBuf {
        let device = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        PathBuf::from(device.trim())
    }

    /// Looks at the screen until `look` finds something; panics with the screen when it does not in time.
    pub fn until_screen<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(found) = look(&screen) {
                return found;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "waited {DEADLINE:?} in vain until {what}; the screen:\n{screen}"
            );
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Waits until `text` is in sight.
    pub fn until_shows(&self, text: &str) {
        self.until_screen(&format!("the screen shows {text:?}"), |screen| {
            // Blanks at the end of a line are not captured.
            screen.contains(text.trim_end()).then_some(())
        });
    }

    /// Waits until a line of the screen is exactly `line`.
    pub fn until_line(&self, line: &str) {
        self.until_screen(&format!("a line is {line:?}"), |screen| {
            screen.lines().any(|shown| shown == line).then_some(())
        });
    }

    /// Shows `session` in this terminal, as `tmux attach` does, until [`Terminal::detach_clients`].
    pub fn attach(&self, session: &Self) {
        // Within a terminal of tmux another one is refused unless TMUX is unset.
        self.type_line(&format!(
            "clear; env -u TMUX '{}' -S '{}' attach",
            self.tmux.display(),
            session.socket().display()
        ));
        let n_clients = || session.tmux(&["list-clients"]).lines().count();
        super::until("the client is attached", || {
            (n_clients() == 1).then_some(())
        });
    }

    /// Detaches every client that shows this session.
    pub fn detach_clients(&self) {
        self.tmux(&["detach-client", "-s", "0"]);
    }

    fn socket(&self) -> PathBuf {
        self.directory().join("tmux.sock")
    }

    /// Closes the terminal, as a person closes the window: whatever runs in it is hung up.
    pub fn close(&self) {
        let _ = self.call(&["kill-server"]);
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn call(&self, arguments: &[&str]) -> Output {
        Command::new(&self.tmux)
            .arg("-S")
            .arg(self.socket())
            .arg("-f")
            .arg(self.directory().join("settings"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory())
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.directory())
            .output()
            .unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}
