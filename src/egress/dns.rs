//! Messages of the domain name system, as far as a stub resolver needs them (RFC 1035, RFC 3596).
//!
//! Owns the encoding of one question and the reading of its answer. Never sends. Invariants: reading ends for any bytes;
//! an address counts only when it belongs to the name that was asked for, or to the name that it is an alias of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host::HostName;

/// Largest answer that is asked for over UDP, in bytes: what passes any link without fragments (DNS flag day 2020).
pub const MAX_UDP_BYTES: u16 = 1_232;

/// Records of an answer that are looked at.
pub const MAX_RECORDS: u16 = 128;

/// Aliases that are followed within an answer.
pub const MAX_ALIASES: usize = 16;

/// Addresses of one kind that are taken from an answer.
pub const MAX_ADDRESSES: usize = 8;

/// Longest name on the wire (RFC 1035, section 2.3.4).
const MAX_WIRE_NAME_BYTES: usize = 255;

/// Pointers that are followed in one name; each must lead back, so there cannot be a loop.
const MAX_POINTERS: usize = 32;

/// Bytes of the header.
const HEADER_BYTES: usize = 12;

/// The class of the internet.
const CLASS_IN: u16 = 1;

const TYPE_CNAME: u16 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `A` records.
    V4,
    /// `AAAA` records.
    V6,
}

impl Family {
    fn record_type(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The addresses; empty when the name has none of that family.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The answer does not fit; it has to be asked for over TCP.
    Truncated,
    /// The server did not answer the question.
    Failed,
}

/// A question to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    family: Family,
    /// The name on the wire: labels with their lengths, in lower case, with the empty one at the end.
    name: Vec<u8>,
}

impl Question {
    /// A question; `id` should not be one that others can guess.
    pub fn new(id: u16, name: &HostName, family: Family) -> Self {
        let mut wire = Vec::with_capacity(MAX_WIRE_NAME_BYTES);
        for label in name.as_str().split('.') {
            wire.push(u8::try_from(label.len()).unwrap_or(0));
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self {
            id,
            family,
            name: wire,
        }
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        /// Recursion is desired.
        const FLAGS: u16 = 0x0100;
        const TYPE_OPT: u16 = 41;
        let mut out = Vec::with_capacity(HEADER_BYTES + self.name.len() + 15);
        let mut push = |number: u16| out.extend_from_slice(&number.to_be_bytes());
        // One question, no answer, no authority, one additional record.
        for number in [self.id, FLAGS, 1, 0, 0, 1] {
            push(number);
        }
        out.extend_from_slice(&self.name);
        let mut push = |number: u16| out.extend_from_slice(&number.to_be_bytes());
        push(self.family.record_type());
        push(CLASS_IN);
        // How large an answer may be (RFC 6891): the root's name, type, size, flags and no data.
        out.push(0);
        let mut push = |number: u16| out.extend_from_slice(&number.to_be_bytes());
        for number in [TYPE_OPT, MAX_UDP_BYTES, 0, 0, 0] {
            push(number);
        }
        out
    }

    /// Reads a message; none when it is no answer to this question, and may be a forgery.
    pub fn read(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let id = reader.number()?;
        let flags = reader.number()?;
        let is_response = flags & 0x8000 != 0;
        let is_query = flags & 0x7800 == 0;
        let n_questions = reader.number()?;
        let n_answers = reader.number()?;
        let _authority = reader.number()?;
        let _additional = reader.number()?;
        if id != self.id || !is_response || !is_query {
            return None;
        }
        let code = flags & 0x000f;
        // Some servers leave the question out of a failure.
        if n_questions == 0 && code != 0 && code != NAME_ERROR {
            return Some(Answer::Failed);
        }
        let is_ours = n_questions == 1
            && reader.name()? == self.name
            && reader.number()? == self.family.record_type()
            && reader.number()? == CLASS_IN;
        if !is_ours {
            return None;
        }
        if flags & 0x0200 != 0 {
            return Some(Answer::Truncated);
        }
        Some(match code {
            0 => self
                .addresses(&mut reader, n_answers)
                .map_or(Answer::Failed, Answer::Addresses),
            NAME_ERROR => Answer::NoName,
            _ => Answer::Failed,
        })
    }

    /// The addresses of the name, or of what it is an alias of; none when a record is cut off.
    fn addresses(&self, reader: &mut Reader<'_>, n_answers: u16) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        let mut aliases = Vec::new();
        for _ in 0..n_answers.min(MAX_RECORDS) {
            let owner = reader.name()?;
            let record_type = reader.number()?;
            let class = reader.number()?;
            let _time_to_live = (reader.number()?, reader.number()?);
            let n_bytes = usize::from(reader.number()?);
            let data_start = reader.at;
            let data = reader.bytes(n_bytes)?;
            if class != CLASS_IN {
                continue;
            }
            if record_type == TYPE_CNAME {
                let mut alias = Reader {
                    message: reader.message,
                    at: data_start,
                };
                aliases.push((owner, alias.name()?));
            } else if record_type == self.family.record_type() {
                let address = match self.family {
                    Family::V4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
                    Family::V6 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
                };
                addresses.push((owner, address?));
            }
        }
        let mut name = self.name.clone();
        for _ in 0..=MAX_ALIASES {
            let own = addresses.iter().filter(|(owner, _)| *owner == name);
            let own: Vec<IpAddr> = own
                .map(|(_, address)| *address)
                .take(MAX_ADDRESSES)
                .collect();
            if !own.is_empty() {
                return Some(own);
            }
            match aliases.iter().find(|(owner, _)| *owner == name) {
                Some((_, alias)) => name.clone_from(alias),
                None => break,
            }
        }
        Some(Vec::new())
    }
}

/// The code of an answer that says that there is no such name.
const NAME_ERROR: u16 = 3;

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n_bytes)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    }

    /// A name in lower case, without pointers (RFC 1035, section 4.1.4).
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut behind = None;
        let mut n_pointers = 0;
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => {
                    name.push(0);
                    self.at = behind.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=63 => {
                    let label = self.message.get(at..at + 1 + usize::from(length))?;
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() > MAX_WIRE_NAME_BYTES {
                        return None;
                    }
                    at += label.len();
                }
                0xc0..=0xff => {
                    let low = *self.message.get(at + 1)?;
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    behind = behind.or(Some(at + 2));
                    n_pointers += 1;
                    if to >= at || n_pointers > MAX_POINTERS {
                        return None;
                    }
                    at = to;
                }
                64..=0xbf => return None,
            }
        }
    }
}

/// The addresses that mean the host itself.
pub(super) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    fn question(family: Family) -> Question {
        Question::new(ID, &HostName::parse("www.example.com").unwrap(), family)
    }

    /// An answer with that code and those records; `extra` is what a record's owner and data point to.
    fn message(question: &Question, flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let n_records = u16::try_from(records.len()).unwrap();
        for number in [ID, flags, 1, n_records, 0, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&question.name);
        out.extend_from_slice(&question.family.record_type().to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        for (owner, record_type, data) in records {
            out.extend_from_slice(owner);
            out.extend_from_slice(&record_type.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&60_u32.to_be_bytes());
            out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    /// A pointer to the name of the question.
    const TO_QUESTION: &[u8] = &[0xc0, 12];
    const OTHER: &[u8] = b"\x05other\x04test\0";

    #[test]
    fn a_question_is_written_as_the_standard_has_it() {
        let bytes = question(Family::V4).encode();
        let expected = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x03www\x07example\x03com\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn addresses_of_the_name_and_of_its_aliases_are_read_and_no_others() {
        let question = question(Family::V4);
        let own: (&[u8], u16, &[u8]) = (TO_QUESTION, 1, &[93, 184, 216, 34]);
        let alias: (&[u8], u16, &[u8]) = (TO_QUESTION, TYPE_CNAME, OTHER);
        let other: (&[u8], u16, &[u8]) = (b"\x05OTHER\x04test\0", 1, &[1, 2, 3, 4]);
        let stranger: (&[u8], u16, &[u8]) = (b"\x04evil\0", 1, &[6, 6, 6, 6]);
        let six: (&[u8], u16, &[u8]) = (TO_QUESTION, 28, &[0; 16]);
        for (records, expected) in [
            (vec![own], vec!["93.184.216.34"]),
            (vec![own, own], vec!["93.184.216.34", "93.184.216.34"]),
            (vec![alias, other], vec!["1.2.3.4"]),
            (vec![other, alias], vec!["1.2.3.4"]),
            (vec![stranger], vec![]),
            (vec![alias, stranger], vec![]),
            (vec![six], vec![]),
            (vec![], vec![]),
        ] {
            let addresses = expected.iter().map(|text| text.parse().unwrap()).collect();
            let answer = question.read(&message(&question, 0x8180, &records));
            assert_eq!(answer, Some(Answer::Addresses(addresses)), "{records:?}");
        }
        let many = vec![own; 100];
        let Some(Answer::Addresses(addresses)) = question.read(&message(&question, 0x8180, &many))
        else {
            panic!("no addresses");
        };
        assert_eq!(addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn failures_are_told_apart_and_forgeries_are_no_answers() {
        let question = question(Family::V6);
        let read = |flags| question.read(&message(&question, flags, &[]));
        assert_eq!(read(0x8183), Some(Answer::NoName));
        assert_eq!(read(0x8182), Some(Answer::Failed));
        assert_eq!(read(0x8185), Some(Answer::Failed));
        assert_eq!(read(0x8380), Some(Answer::Truncated));
        assert_eq!(read(0x0100), None, "a question is no answer");
        let whole = message(&question, 0x8180, &[]);
        let mut other_id = whole.clone();
        other_id[1] ^= 1;
        assert_eq!(question.read(&other_id), None);
        let mut other_name = whole.clone();
        other_name[13] ^= 1;
        assert_eq!(question.read(&other_name), None);
        let mut other_type = whole;
        other_type[30] ^= 1;
        assert_eq!(question.read(&other_type), None);
    }

    #[test]
    fn a_damaged_answer_is_read_to_no_address_and_never_without_end() {
        let question = question(Family::V4);
        let record: (&[u8], u16, &[u8]) = (TO_QUESTION, 1, &[1, 2, 3, 4]);
        let whole = message(&question, 0x8180, &[record]);
        for end in 0..whole.len() {
            let answer = question.read(&whole[..end]);
            let is_harmless = matches!(answer, None | Some(Answer::Failed));
            assert!(is_harmless, "{end}: {answer:?}");
        }
        // A pointer to itself, and one that leads forward.
        for owner in [&[0xc0, 33][..], &[0xc0, 40], &[0xff, 0xff], &[0x80, 1]] {
            let record: (&[u8], u16, &[u8]) = (owner, 1, &[1, 2, 3, 4]);
            let answer = question.read(&message(&question, 0x8180, &[record]));
            assert_eq!(answer, Some(Answer::Failed), "{owner:?}");
        }
        let loop_of_two: [(&[u8], u16, &[u8]); 2] = [
            (TO_QUESTION, TYPE_CNAME, OTHER),
            (OTHER, TYPE_CNAME, TO_QUESTION),
        ];
        let answer = question.read(&message(&question, 0x8180, &loop_of_two));
        assert_eq!(answer, Some(Answer::Addresses(Vec::new())));
    }
}
