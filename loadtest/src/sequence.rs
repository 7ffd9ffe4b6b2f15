//! Whether a subscriber heard everything once and in order.

/// The next sequence number a subscriber must hear, from 0.
///
/// Who joins while publications are in flight may or may not hear those: from [`Sequence::may_hear_from`] until
/// [`Sequence::must_hear_from`] both are right.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sequence {
    next: u64,
    /// Least number below `next` that may still come; `next` if none may.
    early: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    InOrder,
    /// From before the subscriber counted as one.
    Early,
    /// This many were skipped.
    Gap(u64),
    /// Heard before, or later than a higher one.
    Disorder,
}

impl Sequence {
    /// A subscriber that asks to join when everything below `first` is over.
    pub fn may_hear_from(first: u64) -> Sequence {
        Sequence { next: first, early: first }
    }

    /// The subscription was confirmed when `next` publications had been made: it must hear all from there.
    pub fn must_hear_from(&mut self, next: u64) {
        self.next = next;
    }

    /// The least number the subscriber has yet to hear.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn check(&mut self, heard: u64) -> Verdict {
        let verdict = if heard == self.next {
            Verdict::InOrder
        } else if heard > self.next {
            Verdict::Gap(heard - self.next)
        } else if heard >= self.early {
            self.early = heard + 1;
            return Verdict::Early;
        } else {
            return Verdict::Disorder;
        };
        self.next = heard.saturating_add(1);
        self.early = self.next;
        verdict
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
            let mut sequence = Sequence::may_hear_from(later);
            sequence.must_hear_from(later);
            let got: Vec<Verdict> = heard.iter().map(|&n| sequence.check(n + later)).collect();
            assert_eq!(got, want, "{name}, joined later");
        }
    }

    #[test]
    fn who_joins_in_the_middle_may_hear_what_was_on_its_way_but_in_order() {
        use Verdict::{Disorder, Early, Gap, InOrder};
        let table: [(&str, &[u64], &[Verdict]); 6] = [
            ("none of it", &[13, 14], &[InOrder, InOrder]),
            ("all of it", &[10, 11, 12, 13], &[Early, Early, Early, InOrder]),
            ("the end of it", &[12, 13], &[Early, InOrder]),
            ("older than anything on its way", &[9], &[Disorder]),
            ("twice, and late", &[11, 11, 10, 13, 12], &[Early, Disorder, Disorder, InOrder, Disorder]),
            ("a gap after", &[11, 14, 13], &[Early, Gap(1), Disorder]),
        ];
        for (name, heard, want) in table {
            let mut sequence = Sequence::may_hear_from(10);
            sequence.must_hear_from(13);
            let got: Vec<Verdict> = heard.iter().map(|&n| sequence.check(n)).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
