//! The repair of a cast whose writer was killed.
//!
//! Owns the torn last line, which it cuts off. A line that was torn and went on cannot be: one writer, whole lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes looked at a time, from the end.
const LOOK_BYTES: u64 = 64 * 1024;

/// Cuts off what stands behind the last line end; gives the number of bytes that were cut.
///
/// # Errors
/// When the file cannot be read or cut.
pub fn cut_torn_line(file: &File) -> io::Result<u64> {
    let n_bytes = file.metadata()?.len();
    let mut end = n_bytes;
    let mut piece = Vec::new();
    while end > 0 {
        let from = end.saturating_sub(LOOK_BYTES);
        piece.resize(usize::try_from(end - from).unwrap_or(0), 0);
        file.read_exact_at(&mut piece, from)?;
        if let Some(at) = memchr::memrchr(b'\n', &piece) {
            end = from + at as u64 + 1;
            break;
        }
        end = from;
    }
    if end < n_bytes {
        file.set_len(end)?;
    }
    Ok(n_bytes - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_cut_at_any_byte_has_whole_lines_behind_the_repair() {
        let long = format!("[1.0, \"o\", \"{}\"]\n", "x".repeat(70_000));
        let text = format!("{{\"version\":2}}\n[0.1, \"o\", \"a\"]\n{long}[2.0, \"m\", \"é\"]\n");
        for cut in (0..200).chain(69_990..text.len() + 1) {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&text.as_bytes()[..cut], 0).unwrap();
            let whole = text.as_bytes()[..cut]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            assert_eq!(cut_torn_line(&file).unwrap(), (cut - whole) as u64);
            assert_eq!(file.metadata().unwrap().len(), whole as u64);
        }
    }
}
