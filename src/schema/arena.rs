//! Schemas that refer to each other, by number, so that one may refer to itself; and the chains between them.

use super::keyword::Keyword;
use super::{MAX_CHAIN, SchemaError};

/// Number of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) usize);

/// One schema of a schema.
#[derive(Debug)]
pub(super) struct Node {
    /// JSON pointer of the schema.
    pub(super) place: String,
    /// Its keywords, each with its name.
    pub(super) keywords: Vec<(&'static str, Keyword)>,
    /// The schema `false`, which nothing satisfies.
    pub(super) is_never: bool,
}

/// Refuses schemas that apply to a value by way of themselves, which has no end, and longer chains than [`MAX_CHAIN`].
pub(super) fn refuse_endless(nodes: &[Node]) -> Result<(), SchemaError> {
    // How long the chain from each node is, once that is known.
    let mut lengths: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut is_open = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        let mut stack = vec![start];
        while let Some(&at) = stack.last() {
            let (Some(node), Some(length), Some(open)) =
                (nodes.get(at), lengths.get(at), is_open.get_mut(at))
            else {
                break;
            };
            if length.is_some() {
                stack.pop();
                continue;
            }
            *open = true;
            let next: Vec<usize> = node
                .keywords
                .iter()
                .flat_map(|(_, keyword)| keyword.in_place())
                .map(|id| id.0)
                .collect();
            let known = |id: &usize| lengths.get(*id).copied().flatten();
            if let Some(id) = next.iter().find(|id| known(id).is_none()) {
                if is_open.get(*id).copied().unwrap_or(true) {
                    return Err(SchemaError {
                        place: node.place.clone(),
                        problem: "applies to a value by way of itself, which has no end".to_owned(),
                    });
                }
                stack.push(*id);
                continue;
            }
            let longest = next.iter().filter_map(known).max().map_or(0, |n| n + 1);
            if longest > MAX_CHAIN {
                return Err(SchemaError {
                    place: node.place.clone(),
                    problem: format!("leads through more than {MAX_CHAIN} schemas"),
                });
            }
            if let Some(length) = lengths.get_mut(at) {
                *length = Some(longest);
            }
            if let Some(open) = is_open.get_mut(at) {
                *open = false;
            }
            stack.pop();
        }
    }
    Ok(())
}
