//! Whether a subscriber heard everything once and in order.

/// The next sequence number a subscriber must hear, from 0.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sequence {
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    InOrder,
    /// This many were skipped.
    Gap(u64),
    /// Heard before, or later than a higher one.
    Disorder,
}

impl Sequence {
    /// A subscriber that joins when `next` publications were made.
    pub fn from(next: u64) -> Sequence {
        Sequence { next }
    }

    pub fn check(&mut self, heard: u64) -> Verdict {
        if heard == self.next {
            self.next += 1;
            return Verdict::InOrder;
        }
        if heard < self.next {
            return Verdict::Disorder;
        }
        let skipped = heard - self.next;
        self.next = heard.saturating_add(1);
        Verdict::Gap(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        use Verdict::{Disorder, Gap, InOrder};
        let table: [(&str, &[u64], &[Verdict]); 6] = [
            ("in order", &[0, 1, 2], &[InOrder, InOrder, InOrder]),
            ("first one missing", &[1, 2], &[Gap(1), InOrder]),
            ("three missing", &[0, 4, 5], &[InOrder, Gap(3), InOrder]),
            ("twice", &[0, 1, 1, 2], &[InOrder, InOrder, Disorder, InOrder]),
            ("swapped", &[0, 2, 1, 3], &[InOrder, Gap(1), Disorder, InOrder]),
            ("the last number", &[u64::MAX], &[Gap(u64::MAX)]),
        ];
        for (name, heard, want) in table {
            let mut sequence = Sequence::default();
            let got: Vec<Verdict> = heard.iter().map(|&n| sequence.check(n)).collect();
            assert_eq!(got, want, "{name}");
            let later = u64::from(heard != [u64::MAX]) * 100;
            let mut sequence = Sequence::from(later);
            let got: Vec<Verdict> = heard.iter().map(|&n| sequence.check(n + later)).collect();
            assert_eq!(got, want, "{name}, joined later");
        }
    }
}
