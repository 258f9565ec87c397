//! Text of a workload that fits into a place on a screen.
//!
//! Owns cutting at a column; what makes text harmless is [`crate::progress::clean`].

use crate::progress::clean;

/// One line of harmless text.
pub fn line(text: &str) -> String {
    clean::plain(text)
}

/// Columns of a text.
pub fn columns(text: &str) -> usize {
    clean::width(text)
}

/// The beginning of a text that fits into so many columns; one that does not fit ends with `…`.
pub fn fit(text: &str, max_columns: usize) -> String {
    clean::fit(text, max_columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_column() {
        assert_eq!(fit("hello", 5), "hello");
        assert_eq!(fit("hello", 4), "hel…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("x", 0), "");
    }
}
