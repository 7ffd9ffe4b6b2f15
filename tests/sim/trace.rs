//! What happened, as a digest that two runs of one seed must share, and as text where somebody wants to read it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// Lines kept for the end of a failing run.
const LINES_MAX: usize = 1_000;

#[derive(Debug)]
pub struct Trace {
    digest: u64,
    events: u64,
    /// `None`: only the digest is wanted.
    lines: Option<VecDeque<String>>,
    text: String,
    census: Census,
}

/// How often what happened: a simulation that never meets a situation says nothing about it.
pub type Census = BTreeMap<&'static str, u64>;

impl Trace {
    pub fn new(keeps_lines: bool) -> Self {
        Self {
            digest: 0xCBF2_9CE4_8422_2325,
            events: 0,
            lines: keeps_lines.then(VecDeque::new),
            text: String::new(),
            census: Census::new(),
        }
    }

    /// Notes one event.
    pub fn note(&mut self, now_ms: u64, event: std::fmt::Arguments<'_>) {
        self.text.clear();
        write!(self.text, "{now_ms:>8} {event}").expect("a string takes every text");
        // FNV-1a, eight bytes at a time: this runs for every event of every seed.
        let (words, tail) = self.text.as_bytes().as_chunks::<8>();
        for word in
            words.iter().map(|word| u64::from_le_bytes(*word)).chain(tail.iter().map(|b| u64::from(*b)))
        {
            self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(29);
        }
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(self.text.clone());
        }
    }

    /// Counts an occurrence of something worth counting.
    pub fn count(&mut self, name: &'static str) {
        *self.census.entry(name).or_default() += 1;
    }

    pub fn census(&self) -> &Census {
        &self.census
    }

    pub fn digest(&self) -> (u64, u64) {
        (self.digest, self.events)
    }

    /// The last lines, if any were kept.
    pub fn tail(&self) -> String {
        self.lines.iter().flatten().fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        })
    }
}
