//! How many rows of the live view stand on the terminal, for whoever takes them away when the view has died.
//!
//! Invariant: between two frames, what is told is never more than what stands there: rows that go are told before they go,
//! new ones after they came. So whoever takes them away takes nothing else.

use std::fmt;

/// Hears the number of rows; it must not wait.
pub type Listener = Box<dyn Fn(u16) + Send>;

/// The number that was told last.
pub struct Rows {
    n_told: u16,
    listener: Listener,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Rows");
        text.field("n_told", &self.n_told).finish_non_exhaustive()
    }
}

impl Rows {
    /// None stand there.
    pub fn new(listener: Listener) -> Self {
        Self {
            n_told: 0,
            listener,
        }
    }

    /// A frame will be written behind which that many stand there.
    pub fn before_frame(&mut self, n_rows: u16) {
        self.tell(n_rows.min(self.n_told));
    }

    /// It was written.
    pub fn after_frame(&mut self, n_rows: u16) {
        self.tell(n_rows);
    }

    fn tell(&mut self, n_rows: u16) {
        if n_rows != self.n_told {
            self.n_told = n_rows;
            (self.listener)(n_rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn no_more_rows_are_told_than_stand_there() {
        let (told, heard) = mpsc::channel();
        let mut rows = Rows::new(Box::new(move |n_rows| told.send(n_rows).unwrap()));
        let mut frame = |n_rows| {
            rows.before_frame(n_rows);
            let before: Vec<u16> = heard.try_iter().collect();
            rows.after_frame(n_rows);
            (before, heard.try_iter().collect::<Vec<u16>>())
        };
        assert_eq!(frame(0), (vec![], vec![]));
        assert_eq!(frame(3), (vec![], vec![3]));
        assert_eq!(frame(3), (vec![], vec![]));
        assert_eq!(frame(2), (vec![2], vec![]));
        assert_eq!(frame(4), (vec![], vec![4]));
        assert_eq!(frame(0), (vec![0], vec![]));
    }
}
