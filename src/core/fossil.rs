//! Differences between two texts in the delta format of Fossil SCM, as clients of the Centrifuge protocol apply them.
//!
//! A delta is `<length>\n`, then commands, then `<checksum>;`. A command copies a piece of the base, `<length>@<offset>,`,
//! or inserts bytes of its own, `<length>:<bytes>`. Numbers have base 64. Source: «The Fossil Delta Format»,
//! fossil-scm.org.
//!
//! Pieces are found by a rolling hash over blocks of the base. Both texts are publications, so the work is bounded
//! whatever they are: for each place of the target a fixed number of blocks is looked at, and what is compared beyond
//! a block is copied afterwards.
//!
//! Invariant: where the target is UTF-8, so is the delta: no insertion begins or ends within a character.

use super::publication::Payload;

/// Bytes hashed at once.
const BLOCK: usize = 16;

/// Blocks with the same hash that are looked at.
const PROBES_MAX: usize = 8;

/// A shorter copy takes about as many bytes as it saves.
const COPY_MIN: usize = 8;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// What leads from one publication's data to another's; `None`: it would not be shorter, or they are of two kinds,
/// which dialects show in two ways.
pub fn between(base: &Payload, target: &Payload) -> Option<Box<[u8]>> {
    match (base, target) {
        (Payload::Json(base), Payload::Json(target)) | (Payload::Binary(base), Payload::Binary(target)) => {
            let delta = create(base, target);
            (delta.len() < target.len()).then(|| delta.into())
        }
        _ => None,
    }
}

/// What leads from `base` to `target`. O(base + target), and no longer than the target by more than its frame.
pub fn create(base: &[u8], target: &[u8]) -> Vec<u8> {
    let mut delta = Delta { target, written: 0, out: Vec::new() };
    append_number(target.len(), &mut delta.out);
    delta.out.push(b'\n');
    // Most often little has changed somewhere in the middle.
    let prefix = common_prefix(base, target);
    delta.copy(Copy { from: 0, at: 0, length: prefix });
    let suffix = common_prefix_reversed(&base[prefix..], &target[prefix..]);
    let end = target.len() - suffix;
    delta.copy_blocks(base, end);
    delta.copy(Copy { from: base.len() - suffix, at: end, length: suffix });
    delta.insert_until(target.len());
    append_number(checksum(target) as usize, &mut delta.out);
    delta.out.push(b';');
    delta.out
}

/// A piece that base and target have in common.
#[derive(Debug, Clone, Copy)]
struct Copy {
    /// In the base.
    from: usize,
    /// In the target.
    at: usize,
    length: usize,
}

struct Delta<'t> {
    target: &'t [u8],
    /// Bytes of the target that the commands so far make.
    written: usize,
    out: Vec<u8>,
}

impl Delta<'_> {
    /// Copies the pieces of the base that occur in the target from what is written up to `end`.
    fn copy_blocks(&mut self, base: &[u8], end: usize) {
        if self.written + BLOCK > end || base.len() < BLOCK {
            return;
        }
        let blocks = Blocks::new(base);
        let mut at = self.written;
        let mut hash = Hash::of(&self.target[at..]);
        while at + BLOCK <= end {
            let found = blocks.find(hash, self.target, (self.written, at, end));
            if let Some(copy) = found
                && self.copy(copy)
            {
                at = self.written;
                if at + BLOCK <= end {
                    hash = Hash::of(&self.target[at..]);
                }
            } else {
                if at + BLOCK < end {
                    hash.roll(self.target[at], self.target[at + BLOCK]);
                }
                at += 1;
            }
        }
    }

    /// Inserts what comes before the piece and copies it; `false`: it is too short for that.
    fn copy(&mut self, Copy { from, at, length }: Copy) -> bool {
        let is_within = |place: usize| self.target.get(place).is_some_and(|byte| byte & 0xC0 == 0x80);
        let start = (at..at + length).find(|place| !is_within(*place)).unwrap_or(at + length);
        let end = (start..=at + length).rev().find(|place| !is_within(*place)).unwrap_or(start);
        if end - start < COPY_MIN {
            return false;
        }
        self.insert_until(start);
        append_number(end - start, &mut self.out);
        self.out.push(b'@');
        append_number(from + (start - at), &mut self.out);
        self.out.push(b',');
        self.written = end;
        true
    }

    fn insert_until(&mut self, end: usize) {
        if self.written < end {
            append_number(end - self.written, &mut self.out);
            self.out.push(b':');
            self.out.extend_from_slice(&self.target[self.written..end]);
            self.written = end;
        }
    }
}

/// The whole blocks of a base, by their hashes.
struct Blocks<'b> {
    base: &'b [u8],
    /// By hash: the last block that has it, counted from 1; 0: none.
    last: Vec<u32>,
    /// By block: the one before it with the same place in `last`.
    before: Vec<u32>,
}

impl<'b> Blocks<'b> {
    fn new(base: &'b [u8]) -> Self {
        let count = base.len() / BLOCK;
        let mut blocks =
            Self { base, last: vec![0; count.next_power_of_two()], before: Vec::with_capacity(count) };
        for (number, block) in (1..).zip(base.chunks_exact(BLOCK)) {
            let place = blocks.place(Hash::of(block));
            blocks.before.push(std::mem::replace(&mut blocks.last[place], number));
        }
        blocks
    }

    fn place(&self, hash: Hash) -> usize {
        (hash.value().wrapping_mul(0x9E37_79B1) >> 7) as usize & (self.last.len() - 1)
    }

    /// The longest piece around the block at `at`, not before `start` and not beyond `end`.
    fn find(&self, hash: Hash, target: &[u8], (start, at, end): (usize, usize, usize)) -> Option<Copy> {
        let mut longest: Option<Copy> = None;
        let mut number = self.last[self.place(hash)];
        for _ in 0..PROBES_MAX {
            let Some(block) = (number as usize).checked_sub(1) else { break };
            number = self.before[block];
            let from = block * BLOCK;
            // Whole blocks first: a publisher can make many differ late that have one hash.
            if self.base[from..from + BLOCK] != target[at..at + BLOCK] {
                continue;
            }
            let forward = common_prefix(&self.base[from..], &target[at..end]);
            let backward = common_prefix_reversed(&self.base[..from], &target[start..at]);
            let length = backward + forward;
            if longest.is_none_or(|longest| longest.length < length) {
                longest = Some(Copy { from: from - backward, at: at - backward, length });
            }
        }
        longest
    }
}

/// Over one block, such that it can go on by a byte. Source: Tridgell, «The rsync algorithm» (1996).
#[derive(Debug, Clone, Copy)]
struct Hash {
    sum: u16,
    sum_of_sums: u16,
}

impl Hash {
    /// Of the block with which `bytes` begins.
    fn of(bytes: &[u8]) -> Self {
        bytes.iter().take(BLOCK).fold(Self { sum: 0, sum_of_sums: 0 }, |hash, byte| {
            let sum = hash.sum.wrapping_add(u16::from(*byte));
            Self { sum, sum_of_sums: hash.sum_of_sums.wrapping_add(sum) }
        })
    }

    fn roll(&mut self, leaving: u8, coming: u8) {
        self.sum = self.sum.wrapping_sub(leaving.into()).wrapping_add(coming.into());
        let left = (BLOCK as u16).wrapping_mul(leaving.into());
        self.sum_of_sums = self.sum_of_sums.wrapping_sub(left).wrapping_add(self.sum);
    }

    fn value(self) -> u32 {
        u32::from(self.sum_of_sums) << 16 | u32::from(self.sum)
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn common_prefix_reversed(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// The sum of all words of four bytes, the most significant byte first, the last word filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

fn append_number(number: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(6).max(1);
    out.extend((0..digits).rev().map(|digit| DIGITS[number >> (digit * 6) & 63]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a client does, from the description of the format alone.
    fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
        let number = |rest: &mut &[u8]| -> Option<(usize, u8)> {
            let mut number = 0;
            loop {
                let (byte, after) = rest.split_first()?;
                *rest = after;
                match byte {
                    b'0'..=b'9' => number = number * 64 + usize::from(byte - b'0'),
                    b'A'..=b'Z' => number = number * 64 + usize::from(byte - b'A') + 10,
                    b'_' => number = number * 64 + 36,
                    b'a'..=b'z' => number = number * 64 + usize::from(byte - b'a') + 37,
                    b'~' => number = number * 64 + 63,
                    end => return Some((number, *end)),
                }
            }
        };
        let mut rest = delta;
        let (length, b'\n') = number(&mut rest)? else { return None };
        let mut out: Vec<u8> = Vec::new();
        loop {
            match number(&mut rest)? {
                (count, b'@') => {
                    let (from, b',') = number(&mut rest)? else { return None };
                    out.extend_from_slice(base.get(from..from + count)?);
                }
                (count, b':') => {
                    out.extend_from_slice(rest.get(..count)?);
                    rest = &rest[count..];
                }
                (sum, b';') => {
                    let mut padded = out.clone();
                    padded.resize(out.len().next_multiple_of(4), 0);
                    let words = padded
                        .chunks_exact(4)
                        .map(|w| w.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
                    let is_right = rest.is_empty()
                        && out.len() == length
                        && words.sum::<u64>() & 0xFFFF_FFFF == sum as u64;
                    return is_right.then_some(out);
                }
                _ => return None,
            }
        }
    }

    /// Two texts with pieces in common, from few different pieces so that they repeat.
    fn related() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(0_u8..3, 0..200),
            "[a-z0-9{}\":,äß€]{0,40}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 1..6).prop_flat_map(|pieces| {
            let pick = prop::collection::vec(0..pieces.len(), 0..12);
            let join = move |picks: Vec<usize>| picks.iter().flat_map(|at| pieces[*at].clone()).collect();
            (pick.clone().prop_map(join.clone()), pick.prop_map(join))
        })
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_base_to_target((base, target) in related()) {
            let delta = create(&base, &target);
            prop_assert_eq!(apply(&base, &delta), Some(target.clone()));
            // A header, a checksum, and one insertion at worst.
            prop_assert!(delta.len() <= target.len() + 16);
        }

        #[test]
        fn a_delta_between_texts_is_text(pieces in prop::collection::vec("[aäß€𝄞]{0,30}", 4), order: [u8; 4]) {
            let base = pieces.concat();
            let target: String = order.iter().map(|at| &*pieces[usize::from(*at) % 4]).collect();
            let delta = create(base.as_bytes(), target.as_bytes());
            prop_assert!(str::from_utf8(&delta).is_ok());
            prop_assert_eq!(apply(base.as_bytes(), &delta), Some(target.into_bytes()));
        }
    }

    #[test]
    fn a_small_change_makes_a_short_delta() {
        let rows = |change: usize| {
            let row = |at: usize| {
                format!(r#"{{"id":{at},"price":{},"of":"ä"}}"#, if at == change { 7 } else { 100 + at })
            };
            format!("[{}]", (0..100).map(row).collect::<Vec<_>>().join(",")).into_bytes()
        };
        // (base, target, bytes at most)
        let table = [
            (rows(100), rows(50), 32),
            (rows(10), rows(90), 56),
            (rows(3), rows(3), 16),
            (rows(3), rows(3)[..40].to_vec(), 20),
            (b"{\"a\":1,\"value\":17}".to_vec(), b"{\"a\":1,\"value\":18}".to_vec(), 18),
        ];
        for (base, target, at_most) in table {
            let delta = create(&base, &target);
            assert_eq!(apply(&base, &delta), Some(target));
            assert!(delta.len() <= at_most, "{} bytes: {}", delta.len(), String::from_utf8_lossy(&delta));
        }
    }

    #[test]
    fn pieces_that_moved_are_found() {
        let (front, back) = ("abcdefghijklmnopqrstuvwxyz".repeat(3), "0123456789".repeat(9));
        let (base, target) = (format!("{front}{back}"), format!("{back}x{front}"));
        let delta = create(base.as_bytes(), target.as_bytes());
        assert_eq!(apply(base.as_bytes(), &delta), Some(target.into_bytes()));
        assert!(delta.len() < 40, "{}", String::from_utf8_lossy(&delta));
    }

    #[test]
    fn what_is_not_shorter_or_not_alike_has_no_delta() {
        let json = |text: &str| Payload::Json(text.as_bytes().into());
        let binary = |text: &str| Payload::Binary(text.as_bytes().into());
        let long = "\"a text that is long enough\"";
        assert!(between(&json(long), &json(long)).is_some());
        assert!(between(&binary(long), &binary(long)).is_some());
        assert_eq!(between(&binary(long), &json(long)), None);
        assert_eq!(between(&json(long), &binary(long)), None);
        assert_eq!(between(&json(long), &json("1")), None);
        assert_eq!(between(&json("1"), &json(long)), None);
    }

    #[test]
    fn what_there_is_no_base_for_is_inserted() {
        assert_eq!(create(b"", b""), b"0\n0;");
        assert_eq!(create(b"", b"abc"), b"3\n3:abc1XObC0;".as_slice());
    }
}
