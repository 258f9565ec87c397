//! One line of the log: the envelope around a payload, and the hash chain.
//!
//! ```text
//! {"seq":7,"ts":"2026-11-22T11:02:57.123Z","type":"action","run_id":"…",<payload>,"hash":"<64 hex digits>"}
//! ```
//! `hash` is SHA-256 over the 32 bytes of the previous line's hash (zeroes before the first line) and then this line's
//! bytes up to and without `,"hash"`. The order of the envelope's fields is fixed, so that readers find number and
//! type without parsing the whole line.

use sha2::{Digest, Sha256};

use super::stamp::STAMP_BYTES;
use crate::event::EventType;

/// Largest payload of one event, in bytes. Texts are cut far below this; it bounds what one reader must buffer.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Largest number of an event: the largest integer that every reader of JSON keeps (RFC 8259, section 6). A log that goes
/// beyond it was not written by us, and the next number would be none.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// Bytes of `,"hash":"…"}` with 64 hexadecimal digits.
const HASH_FIELD_BYTES: usize = HASH_KEY.len() + 64 + 2;
const HASH_KEY: &[u8] = b",\"hash\":\"";
const SEQ_KEY: &[u8] = b"{\"seq\":";
const TS_KEY: &[u8] = b",\"ts\":\"";
const TYPE_KEY: &[u8] = b"\",\"type\":\"";
const RUN_ID_KEY: &[u8] = b"\",\"run_id\":\"";

/// State of the hash chain: the digest of the last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainHead(pub [u8; 32]);

impl ChainHead {
    /// The digest of a line that follows this head; `body` is the line without its hash field and closing brace.
    pub fn next(&self, body: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(self.0)
                .chain_update(body)
                .finalize()
                .into(),
        )
    }

    /// Lower-case hexadecimal form.
    pub fn to_hex(&self) -> String {
        String::from_utf8(self.hex().to_vec()).unwrap_or_default()
    }

    /// Reads the lower-case hexadecimal form.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let (pairs, []) = hex.as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != 32 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(digest))
    }

    fn hex(&self) -> [u8; 64] {
        let mut hex = [0; 64];
        let (pairs, _) = hex.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
        }
        hex
    }
}

/// The lower-case digit of a number below 16; arithmetic, so that a whole digest is done in a few vector instructions.
fn hex_digit(nibble: u8) -> u8 {
    let beyond_nine = u8::from(nibble > 9) * (b'a' - b'9' - 1);
    b'0' + nibble + beyond_nine
}

fn nibble(hex_digit: u8) -> Option<u8> {
    match hex_digit {
        b'0'..=b'9' => Some(hex_digit - b'0'),
        b'a'..=b'f' => Some(hex_digit - b'a' + 10),
        _ => None,
    }
}

/// What stands before the payload.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Time stamp, RFC 3339 with milliseconds.
    pub ts: &'a str,
    /// Event type.
    pub event_type: EventType,
    /// Run id; a DNS label, so it needs no escaping.
    pub run_id: &'a str,
}

impl Envelope<'_> {
    /// Appends the whole line, without a newline, to `out`, and gives the new head of the chain.
    ///
    /// `payload` is a JSON object without the envelope's fields, at most [`MAX_PAYLOAD_BYTES`].
    pub fn encode(&self, payload: &[u8], head: &ChainHead, out: &mut Vec<u8>) -> ChainHead {
        let start = out.len();
        out.extend_from_slice(SEQ_KEY);
        out.extend_from_slice(Decimal::of(self.seq).as_bytes());
        out.extend_from_slice(TS_KEY);
        out.extend_from_slice(self.ts.as_bytes());
        out.extend_from_slice(TYPE_KEY);
        out.extend_from_slice(self.event_type.as_str().as_bytes());
        out.extend_from_slice(RUN_ID_KEY);
        out.extend_from_slice(self.run_id.as_bytes());
        out.push(b'"');
        let fields = payload
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .unwrap_or_default();
        if !fields.is_empty() {
            out.push(b',');
            out.extend_from_slice(fields);
        }
        let next = head.next(out.get(start..).unwrap_or_default());
        out.extend_from_slice(HASH_KEY);
        out.extend_from_slice(&next.hex());
        out.extend_from_slice(b"\"}");
        next
    }
}

/// A number in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    /// Writes the number.
    pub fn of(number: u64) -> Self {
        let mut digits = [0_u8; 20];
        let mut rest = number;
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            first -= 1;
            if rest == 0 {
                break;
            }
        }
        Self { digits, first }
    }

    /// Its digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.first..).unwrap_or_default()
    }
}

/// Number and type of a line, found without parsing its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineHead<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Digits of the sequence number, as they stand.
    pub seq_digits: &'a [u8],
    /// Time stamp.
    pub ts: &'a [u8],
    /// Name of the type; unknown to this build when [`EventType::parse`] gives none.
    pub type_name: &'a [u8],
}

impl<'a> LineHead<'a> {
    /// Reads the head of a line; none when it is not one of ours or was torn.
    ///
    /// Looks at the two ends of the line only. The middle is covered by the hash chain, see [`verify_hash`].
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(SEQ_KEY)?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (seq_digits, rest) = rest.split_at_checked(digits)?;
        if !matches!(digits, 1..=20) || (digits > 1 && seq_digits.first() == Some(&b'0')) {
            return None;
        }
        let seq = std::str::from_utf8(seq_digits).ok()?.parse().ok()?;
        if seq > MAX_SEQ {
            return None;
        }
        let rest = rest.strip_prefix(TS_KEY)?;
        let (ts, rest) = rest.split_at_checked(STAMP_BYTES)?;
        let rest = rest.strip_prefix(TYPE_KEY)?;
        let type_end = memchr::memchr(b'"', rest)?;
        let type_name = rest.get(..type_end)?;
        split_hash(line)?;
        Some(Self {
            seq,
            seq_digits,
            ts,
            type_name,
        })
    }

    /// The type, when this build knows it.
    pub fn event_type(&self) -> Option<EventType> {
        std::str::from_utf8(self.type_name)
            .ok()
            .and_then(EventType::parse)
    }
}

/// Splits a line into the bytes that are hashed and the hash that it claims.
pub fn split_hash(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let body_bytes = line.len().checked_sub(HASH_FIELD_BYTES)?;
    let (body, field) = line.split_at_checked(body_bytes)?;
    let hash = field.strip_prefix(HASH_KEY)?.strip_suffix(b"\"}")?;
    Some((body, hash))
}

/// Checks a line against the head before it, and gives the head after it.
pub fn verify_hash(line: &[u8], head: &ChainHead) -> Option<ChainHead> {
    let (body, claimed) = split_hash(line)?;
    let next = head.next(body);
    // As text: a digit in another case is another line than the one that was written.
    (next.hex() == claimed).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, payload: &[u8], head: &ChainHead) -> (Vec<u8>, ChainHead) {
        let mut out = Vec::new();
        let envelope = Envelope {
            seq,
            ts: "2026-11-22T11:02:57.123Z",
            event_type: EventType::Message,
            run_id: "run-1",
        };
        let next = envelope.encode(payload, head, &mut out);
        (out, next)
    }

    #[test]
    fn a_line_is_json_with_the_envelope_first_and_the_hash_last() {
        let (bytes, _) = line(7, br#"{"text":"a\nb"}"#, &ChainHead::default());
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let keys: Vec<_> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["seq", "ts", "type", "run_id", "text", "hash"]);
        let head = LineHead::parse(&bytes).unwrap();
        assert_eq!(
            (head.seq, head.seq_digits, head.type_name),
            (7, &b"7"[..], &b"message"[..])
        );
    }

    #[test]
    fn the_hash_is_sha_256_of_the_previous_hash_and_the_bytes_before_the_hash_field() {
        let (first, head_1) = line(1, b"{}", &ChainHead::default());
        let (second, head_2) = line(2, b"{}", &head_1);
        assert_eq!(verify_hash(&first, &ChainHead::default()), Some(head_1));
        assert_eq!(verify_hash(&second, &head_1), Some(head_2));
        let at = second.windows(8).position(|w| w == b",\"hash\":").unwrap();
        let mut hasher = Sha256::new();
        hasher.update(head_1.0);
        hasher.update(&second[..at]);
        assert_eq!(ChainHead(hasher.finalize().into()), head_2);
        assert!(
            String::from_utf8(second)
                .unwrap()
                .contains(&head_2.to_hex())
        );
    }

    #[test]
    fn one_changed_bit_breaks_the_chain() {
        let (bytes, _) = line(1, br#"{"text":"hello"}"#, &ChainHead::default());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(
                    verify_hash(&changed, &ChainHead::default()),
                    None,
                    "byte {at}, bit {bit}"
                );
            }
        }
    }

    #[test]
    fn torn_and_foreign_lines_have_no_head() {
        let (bytes, _) = line(12, br#"{"text":"hello"}"#, &ChainHead::default());
        for end in 0..bytes.len() {
            assert_eq!(LineHead::parse(&bytes[..end]), None, "cut at {end}");
        }
        for foreign in [
            &b"{\"seq\":01,"[..],
            b"{}",
            b"",
            b"\0\0\0\0",
            b"{\"seq\":-1,\"ts\":\"",
        ] {
            assert_eq!(LineHead::parse(foreign), None);
        }
        for (seq, is_read) in [(MAX_SEQ, true), (MAX_SEQ + 1, false), (u64::MAX, false)] {
            let (bytes, _) = line(seq, b"{}", &ChainHead::default());
            let bytes = bytes.trim_ascii_end();
            assert_eq!(LineHead::parse(bytes).is_some(), is_read, "{seq}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(
                Decimal::of(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }
}
