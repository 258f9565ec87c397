//! Texts that are taken as they stand, letter by letter.
//!
//! Owns the refusal of `${{` in them: who writes an expression there means its value, and would get the signs.

use super::super::expression::ExpressionError;
use super::super::reader::{Field, Reader};
use super::super::shown::Sight;

/// What is told of an expression where none is read.
pub(super) const AS_IT_STANDS: &str = "${{ in a text that is taken as it stands";

impl<'a> Reader<'a> {
    /// A text for people.
    pub(super) fn plain_prose(&mut self, field: Option<Field<'a>>) -> String {
        let shown = field
            .as_ref()
            .map(|field| Field::new(field.key.clone(), field.node));
        let text = self.prose(field);
        if let Some(field) = shown {
            let expected =
                "write what holds for every run; the parameters of a run stand in its record";
            self.refuse_expression(&field, &text, AS_IT_STANDS, expected);
        }
        text
    }

    /// Keeps the fault that an expression stands in a text in which none is read.
    pub(super) fn refuse_expression(
        &mut self,
        field: &Field<'a>,
        text: &str,
        found: &str,
        expected: &str,
    ) {
        let Some(offset) = text.find("${{") else {
            return;
        };
        let idx = text
            .get(..offset)
            .map_or(0, |before| before.chars().count());
        let error = ExpressionError {
            idx,
            found: found.to_owned(),
            expected: expected.to_owned(),
        };
        self.unreadable(field, error, Sight::Expression);
    }
}
