//! The bytes that bring a terminal from one frame of the live view to the next.
//!
//! Pure. Owns what was drawn last: the rows below the output. A frame is one string and one write, inside a synchronized
//! update (DEC private mode 2026: a terminal that does not know it ignores it), and rewrites only what changed. The cursor is
//! left at the beginning of the row below; it is never hidden and the screen never switched, so a view that dies in any
//! moment leaves a terminal as it was.

use super::clean;
use super::paint::{Colours, Tone};

const BEGIN: &str = "\u{1b}[?2026h";
const END: &str = "\u{1b}[?2026l";

/// Narrowest terminal that has rows below the output, in columns.
pub const MIN_COLUMNS: usize = 20;
/// Lowest terminal that has them, in rows.
pub const MIN_ROWS: usize = 6;

/// A row below the output: parts in their tones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row(pub Vec<(Tone, String)>);

impl Row {
    /// The row in at most that many columns, with its width.
    fn fit(&self, columns: usize, colours: Colours) -> Drawn {
        let mut text = String::new();
        let mut left = columns;
        for (tone, part) in &self.0 {
            let part = clean::fit(part, left);
            left -= clean::width(&part).min(left);
            text.push_str(&colours.paint(*tone, &part));
            if left == 0 {
                break;
            }
        }
        Drawn {
            text,
            width: columns - left,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Drawn {
    text: String,
    width: usize,
}

/// Takes away that many rows above the cursor.
pub fn without_rows(n_rows: u16) -> String {
    format!("\u{1b}[{n_rows}A\r\u{1b}[J")
}

/// A size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// What stands on the terminal.
#[derive(Debug)]
pub struct Screen {
    colours: Colours,
    drawn: Vec<Drawn>,
    size: Option<Size>,
}

impl Screen {
    /// Nothing is drawn yet.
    pub fn new(colours: Colours) -> Self {
        Self {
            colours,
            drawn: Vec::new(),
            size: None,
        }
    }

    /// Somebody else has written on the terminal: what was drawn is left where it is.
    pub fn forget(&mut self) {
        self.drawn.clear();
    }

    /// Rows that stand below the output.
    pub fn n_rows(&self) -> u16 {
        u16::try_from(self.drawn.len()).unwrap_or(u16::MAX)
    }

    /// A frame: lines above, which stay, and the rows below, which the next frame replaces. Empty when nothing changes.
    pub fn frame(&mut self, above: &[String], below: &[Row], size: Size) -> String {
        let fits = size.columns >= MIN_COLUMNS && size.rows >= MIN_ROWS;
        // A letter in the last column leaves some terminals with the cursor at a row's end.
        let columns = size.columns.saturating_sub(1);
        let rows: Vec<Drawn> = if fits {
            let n_rows = size.rows / 2;
            below
                .iter()
                .take(n_rows)
                .map(|row| row.fit(columns, self.colours))
                .collect()
        } else {
            Vec::new()
        };
        let is_same_place = self.size == Some(size) && self.drawn.len() == rows.len();
        if above.is_empty() && is_same_place {
            return self.changes(rows);
        }
        let mut frame = String::from(BEGIN);
        let n_up = self.height(size.columns);
        if n_up > 0 {
            frame.push_str(&format!("\u{1b}[{n_up}A\r\u{1b}[J"));
        }
        for line in above {
            frame.push_str(line);
            frame.push_str("\r\n");
        }
        for row in &rows {
            frame.push_str(&row.text);
            frame.push_str("\r\n");
        }
        frame.push_str(END);
        self.drawn = rows;
        self.size = Some(size);
        if frame.len() == BEGIN.len() + END.len() {
            frame.clear();
        }
        frame
    }

    /// A frame that rewrites the rows that changed.
    fn changes(&mut self, rows: Vec<Drawn>) -> String {
        if rows == self.drawn {
            return String::new();
        }
        let mut frame = format!("{BEGIN}\u{1b}[{}A", rows.len());
        for (row, old) in rows.iter().zip(&self.drawn) {
            if row != old {
                frame.push_str("\r\u{1b}[2K");
                frame.push_str(&row.text);
            }
            frame.push_str("\r\n");
        }
        frame.push_str(END);
        self.drawn = rows;
        frame
    }

    /// Rows that what was drawn takes at a width: a terminal that became narrower has broken the long ones.
    fn height(&self, columns: usize) -> usize {
        let columns = columns.max(1);
        self.drawn
            .iter()
            .map(|row| row.width.div_ceil(columns).max(1))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 40,
        rows: 10,
    };

    fn row(text: &str) -> Row {
        Row(vec![(Tone::Plain, text.to_owned())])
    }

    #[test]
    fn a_frame_is_one_synchronized_update_and_only_what_changed_is_written() {
        let mut screen = Screen::new(Colours::None);
        let first = screen.frame(&[], &[row("one"), row("two")], SIZE);
        assert_eq!(first, format!("{BEGIN}one\r\ntwo\r\n{END}"));
        assert_eq!(screen.frame(&[], &[row("one"), row("two")], SIZE), "");
        let changed = screen.frame(&[], &[row("one"), row("2")], SIZE);
        assert_eq!(
            changed,
            format!("{BEGIN}\u{1b}[2A\r\n\r\u{1b}[2K2\r\n{END}")
        );
        let above = screen.frame(&["output".to_owned()], &[row("one")], SIZE);
        assert_eq!(
            above,
            format!("{BEGIN}\u{1b}[2A\r\u{1b}[Joutput\r\none\r\n{END}")
        );
        let last = screen.frame(&["end".to_owned()], &[], SIZE);
        assert_eq!(last, format!("{BEGIN}\u{1b}[1A\r\u{1b}[Jend\r\n{END}"));
        assert_eq!(screen.frame(&[], &[], SIZE), "");
    }

    #[test]
    fn rows_never_wrap_and_after_a_resize_all_of_them_are_replaced() {
        let mut screen = Screen::new(Colours::None);
        let long = "日".repeat(40);
        screen.frame(&[], &[row(&long)], SIZE);
        assert!(screen.drawn[0].width < SIZE.columns);
        let narrow = Size {
            columns: 20,
            rows: 10,
        };
        // 39 columns of 40 are two rows of 20.
        let resized = screen.frame(&[], &[row("x")], narrow);
        assert!(resized.contains("\u{1b}[2A\r\u{1b}[J"), "{resized:?}");
        let tiny = Size {
            columns: 10,
            rows: 10,
        };
        let gone = screen.frame(&[], &[row("x")], tiny);
        assert!(gone.ends_with(&format!("\u{1b}[J{END}")), "{gone:?}");
    }

    #[test]
    fn what_was_forgotten_is_not_erased() {
        let mut screen = Screen::new(Colours::None);
        screen.frame(&[], &[row("one")], SIZE);
        screen.forget();
        let again = screen.frame(&[], &[row("one")], SIZE);
        assert_eq!(again, format!("{BEGIN}one\r\n{END}"));
    }
}
