//! What a client missed: put together from what history still has and what came meanwhile.
//!
//! A subscription goes live at one place of its channel's stream. Recovery is right if what is handed over leads from
//! where the client stood to that very place without a gap; otherwise the client is told that something is missing.

use super::publication::{Numbered, Position};

/// Publications recovered at once; who missed more begins anew.
pub const RECOVERED_MAX: u32 = 300;

/// What is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every publication.
    #[default]
    Stream,
    /// The latest publication, if there is one.
    Cache,
}

/// What an engine had to say.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    pub top: &'a Position,
    /// Oldest first. In [`Mode::Cache`] only the latest.
    pub publications: &'a [Numbered],
    /// Delivered since the engine was asked, in order.
    pub recent: &'a [Numbered],
}

/// The publications that lead from `since` to `live`, where the subscription begins; `None`: some are missing.
///
/// In [`Mode::Cache`] the latest publication at most, and none if the client has it already or will yet be sent it.
pub fn missed(mode: Mode, since: &Position, live: &Position, read: Read<'_>) -> Option<Vec<Numbered>> {
    if read.top.epoch != live.epoch {
        return None;
    }
    let both = || read.publications.iter().chain(read.recent);
    match mode {
        Mode::Stream => {
            if (!since.epoch.is_empty() && since.epoch != live.epoch) || since.offset > live.offset {
                return None;
            }
            let mut next = since.offset + 1;
            let mut missed = Vec::new();
            for numbered in both().filter(|numbered| numbered.offset <= live.offset) {
                if numbered.offset == next {
                    missed.push(numbered.clone());
                    next += 1;
                }
            }
            (next == live.offset + 1).then_some(missed)
        }
        Mode::Cache => {
            let latest = both().max_by_key(|numbered| numbered.offset)?;
            let has_it = since.offset > 0 && since == live;
            if latest.offset < live.offset {
                return None;
            }
            let is_due = latest.offset == live.offset && !has_it;
            Some(if is_due { vec![latest.clone()] } else { Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, epoch: &str) -> Position {
        Position { offset, epoch: epoch.into() }
    }

    fn judge(
        mode: Mode,
        since: Position,
        live: u64,
        read: &[u64],
        top: u64,
        recent: &[u64],
    ) -> Option<Vec<u64>> {
        let list =
            |offsets: &[u64]| offsets.iter().map(|offset| Numbered::sample(*offset)).collect::<Vec<_>>();
        let (publications, recent, top) = (list(read), list(recent), at(top, "e"));
        let read = Read { top: &top, publications: &publications, recent: &recent };
        missed(mode, &since, &at(live, "e"), read).map(|missed| missed.iter().map(|n| n.offset).collect())
    }

    #[test]
    fn a_stream_is_recovered_without_a_gap_or_not_at_all() {
        // (since, live, read, top, recent, want)
        type Row<'a> = (Position, u64, &'a [u64], u64, &'a [u64], Option<&'a [u64]>);
        let table: [Row<'_>; 14] = [
            (at(3, "e"), 5, &[4, 5], 5, &[], Some(&[4, 5])),
            (at(3, ""), 5, &[4, 5], 5, &[], Some(&[4, 5])),
            (at(5, "e"), 5, &[], 5, &[], Some(&[])),
            (at(0, "e"), 0, &[], 0, &[], Some(&[])),
            // History knows more than was delivered: the rest comes live.
            (at(3, "e"), 4, &[4, 5, 6], 6, &[], Some(&[4])),
            (at(4, "e"), 4, &[5, 6], 6, &[], Some(&[])),
            // More was delivered than history knew when it was read.
            (at(3, "e"), 6, &[4], 4, &[5, 6], Some(&[4, 5, 6])),
            (at(3, "e"), 6, &[4, 5], 5, &[4, 5, 6], Some(&[4, 5, 6])),
            (at(3, "e"), 6, &[], 3, &[4, 5, 6], Some(&[4, 5, 6])),
            // Trimmed, too many, from another life, from the future.
            (at(3, "e"), 6, &[5, 6], 6, &[], None),
            (at(3, "e"), 6, &[4, 5], 6, &[], None),
            (at(3, "e"), 6, &[4], 4, &[6], None),
            (at(3, "f"), 3, &[], 3, &[], None),
            (at(7, "e"), 6, &[], 6, &[], None),
        ];
        for (since, live, read, top, recent, want) in table {
            let got = judge(Mode::Stream, since.clone(), live, read, top, recent);
            assert_eq!(got.as_deref(), want, "{since:?} {live} {read:?} {recent:?}");
        }
        let (top, live) = (at(3, "f"), at(3, "e"));
        let read = Read { top: &top, publications: &[], recent: &[] };
        assert_eq!(missed(Mode::Stream, &live, &live, read), None, "the engine began a new life");
    }

    #[test]
    fn a_cache_recovers_the_latest_publication() {
        // (since, live, read, recent, want)
        type Row<'a> = (Position, u64, &'a [u64], &'a [u64], Option<&'a [u64]>);
        let table: [Row<'_>; 7] = [
            (at(0, ""), 5, &[5], &[], Some(&[5])),
            (at(2, "x"), 5, &[5], &[], Some(&[5])),
            (at(5, "e"), 5, &[5], &[], Some(&[])),
            (at(0, ""), 4, &[5], &[], Some(&[])),
            (at(0, ""), 6, &[5], &[6], Some(&[6])),
            (at(0, ""), 5, &[], &[], None),
            (at(0, ""), 5, &[4], &[], None),
        ];
        for (since, live, read, recent, want) in table {
            let got = judge(Mode::Cache, since.clone(), live, read, live, recent);
            assert_eq!(got.as_deref(), want, "{since:?} {live} {read:?} {recent:?}");
        }
    }
}
