use proptest::prelude::*;

use super::*;

fn chunked(parts: &[&[u8]]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chunker = Utf8Chunker::new();
    for part in parts {
        chunker.push(part, &mut |piece| pieces.push(piece));
        assert!(chunker.held() <= MAX_PIECE_BYTES + 3);
    }
    chunker.finish(&mut |piece| pieces.push(piece));
    pieces
}

fn piece(text: &str, bytes: u64, lossy: bool) -> Piece {
    Piece {
        text: text.to_owned(),
        bytes,
        lossy,
    }
}

#[test]
fn pieces_hold_whole_lines_and_the_last_part_comes_at_the_end() {
    assert!(
        chunked(&[b"one\ntwo\nthr", b"ee\nfour"])
            == [
                piece("one\ntwo\n", 8, false),
                piece("three\n", 6, false),
                piece("four", 4, false),
            ]
    );
}

#[test]
fn a_character_split_over_pushes_is_not_lossy_and_control_bytes_stay() {
    let text = "a\0é\x1b[31m😀\r";
    let parts: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert!(chunked(&parts) == [piece(text, 14, false)]);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_counted_and_marked() {
    assert!(
        chunked(&[b"ok\n", b"\xff\xc3", b"(\n", b"\xe2\x82"])
            == [
                piece("ok\n", 3, false),
                piece("\u{FFFD}\u{FFFD}(\n", 4, true),
                piece("\u{FFFD}", 2, true),
            ]
    );
}

#[test]
fn a_prompt_is_emitted_on_request_and_an_unfinished_character_stays() {
    let mut chunker = Utf8Chunker::new();
    let mut pieces = Vec::new();
    chunker.push(b"Name? \xc3", &mut |piece| pieces.push(piece));
    assert!(pieces.is_empty() && chunker.held() == 7);
    chunker.flush_partial(&mut |piece| pieces.push(piece));
    chunker.flush_partial(&mut |piece| pieces.push(piece));
    chunker.push(b"\xa9\n", &mut |piece| pieces.push(piece));
    assert!(pieces == [piece("Name? ", 6, false), piece("é\n", 3, false)]);
}

#[test]
fn a_line_without_end_comes_in_bounded_pieces() {
    let mut chunker = Utf8Chunker::new();
    let (mut n_bytes, mut n_pieces) = (0, 0);
    let block = "é€".repeat(13_107);
    for _ in 0..64 {
        chunker.push(block.as_bytes(), &mut |piece| {
            assert!(piece.text.len() <= MAX_PIECE_BYTES && piece.text.len() > MAX_PIECE_BYTES - 4);
            n_bytes += piece.bytes;
            n_pieces += 1;
        });
        assert!(chunker.held() <= MAX_PIECE_BYTES + 3);
    }
    chunker.finish(&mut |piece| n_bytes += piece.bytes);
    assert_eq!(n_bytes, block.len() as u64 * 64);
    assert!(n_pieces > 500);
}

#[test]
fn a_cut_never_splits_a_character() {
    let cases = [
        ("héllo", 0, ""),
        ("héllo", 2, "h"),
        ("héllo", 3, "hé"),
        ("héllo", 99, "héllo"),
        ("😀", 3, ""),
    ];
    for (text, max_bytes, expected) in cases {
        assert_eq!(cut_at_char(text, max_bytes), expected, "{text} {max_bytes}");
    }
}

#[test]
fn a_clip_says_how_much_it_left_out() {
    let clip = |parts: &[&str]| {
        let mut clip = Clip::new(4, 4);
        parts.iter().for_each(|part| clip.push(part));
        clip.finish()
    };
    let whole = Clipped {
        text: "abcdefgh".to_owned(),
        total_bytes: 8,
        kept_bytes: 8,
    };
    assert!(clip(&["abc", "defgh"]) == whole);
    let text = "abcd\n[... 2 bytes left out ...]\nghij".to_owned();
    assert!(
        clip(&["ab", "cdefg", "hij"])
            == Clipped {
                text,
                total_bytes: 10,
                kept_bytes: 8
            }
    );
}

#[test]
fn an_excerpt_of_a_long_text_keeps_its_parts_apart() {
    let excerpt = |parts: &[&str]| {
        let mut clip = Clip::new(4, 4);
        parts.iter().for_each(|part| clip.push(part));
        clip.into_excerpt()
    };
    assert_eq!(excerpt(&["abc", "defgh"]), Excerpt::whole("abcdefgh"));
    let cut = excerpt(&["ab", "cdefg", "hij"]);
    assert_eq!(cut, Excerpt::cut("abcd".to_owned(), "ghij".to_owned()));
    assert_eq!(
        (cut.head(), cut.tail(), cut.kept_bytes()),
        ("abcd", Some("ghij"), 8)
    );
    assert!(cut.marked().contains("left out"));
}

/// Pieces of a stream with lines, long and short, wide characters and bytes that are no text.
fn streams() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![
        4 => "[a-z\n\r]{0,40}".prop_map(String::into_bytes),
        2 => "[é€😀\n]{0,20}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (1..20_000_usize).prop_map(|n| "é".repeat(n).into_bytes()),
        1 => Just(b"\xf0\x9f".to_vec()),
    ];
    proptest::collection::vec(part, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pieces_are_the_lossy_text_of_the_stream_however_it_is_split(parts in streams(), n_bytes in 1..9_000_usize) {
        let whole = parts.concat();
        let split: Vec<&[u8]> = whole.chunks(n_bytes).collect();
        let pieces = chunked(&split);
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        prop_assert_eq!(pieces.iter().map(|piece| piece.bytes).sum::<u64>(), whole.len() as u64);
        for piece in &pieces {
            prop_assert!(!piece.text.is_empty() && piece.text.len() <= MAX_PIECE_BYTES);
            prop_assert!(piece.lossy || piece.bytes == piece.text.len() as u64);
        }
        prop_assert_eq!(pieces.iter().any(|piece| piece.lossy), std::str::from_utf8(&whole).is_err());
    }

    #[test]
    fn a_clip_depends_on_the_whole_text_only(
        parts in proptest::collection::vec("[a-zé€😀]{0,30}", 0..12),
        head in 0..40_usize,
        tail in 0..40_usize,
    ) {
        let whole = parts.concat();
        let mut clip = Clip::new(head, tail);
        for part in &parts {
            clip.push(part);
        }
        let clipped = clip.finish();
        let first = cut_at_char(&whole, head);
        let last = end_at_char(&whole[first.len()..], tail);
        let left_out = whole.len() - first.len() - last.len();
        let mark = format!("\n[... {left_out} bytes left out ...]\n");
        let expected = [first, if left_out > 0 { &mark } else { "" }, last].concat();
        prop_assert_eq!(&clipped.text, &expected);
        prop_assert_eq!(clipped.total_bytes, whole.len() as u64);
        prop_assert_eq!(clipped.kept_bytes, (first.len() + last.len()) as u64);
    }
}
