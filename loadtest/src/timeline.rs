//! How many per second, over the time of a run.

use crate::ledger::Counts;

/// Kept spans; beyond, neighbours are joined.
const SPANS_MAX: usize = 512;
const INTERVAL_NS: u64 = 100_000_000;

/// What is counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Deliveries, and replies to clients.
    #[default]
    Deliveries,
    /// Subscribers that were confirmed.
    Subscribers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from_ns: u64,
    to_ns: u64,
    count: u64,
}

/// A record that can be interrupted: contenders take turns.
#[derive(Debug)]
pub struct Timeline {
    pub of: Of,
    interval_ns: u64,
    spans: Vec<Span>,
    /// Begin of the running span and the count there.
    open: Option<(u64, u64)>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { of: Of::default(), interval_ns: INTERVAL_NS, spans: Vec::new(), open: None }
    }
}

impl Timeline {
    pub fn resume(&mut self, now_ns: u64, counts: &Counts) {
        self.open = Some((now_ns, self.count(counts)));
    }

    /// Call often; costs next to nothing between spans.
    pub fn tick(&mut self, now_ns: u64, counts: &Counts) {
        if self.open.is_some_and(|(from_ns, _)| now_ns >= from_ns + self.interval_ns) {
            self.close_span(now_ns, counts);
            self.resume(now_ns, counts);
        }
    }

    /// A last span much shorter than the others would only show noise and is left out.
    pub fn pause(&mut self, now_ns: u64, counts: &Counts) {
        if self.open.is_some_and(|(from_ns, _)| now_ns >= from_ns + self.interval_ns / 4) {
            self.close_span(now_ns, counts);
        }
        self.open = None;
    }

    fn close_span(&mut self, now_ns: u64, counts: &Counts) {
        let Some((from_ns, before)) = self.open else { return };
        self.spans.push(Span { from_ns, to_ns: now_ns, count: self.count(counts).saturating_sub(before) });
        if self.spans.len() > SPANS_MAX {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        self.interval_ns *= 2;
        let mut joined: Vec<Span> = Vec::with_capacity(SPANS_MAX);
        for span in self.spans.drain(..) {
            match joined.last_mut() {
                Some(last) if last.to_ns == span.from_ns && last.to_ns - last.from_ns < self.interval_ns => {
                    last.to_ns = span.to_ns;
                    last.count += span.count;
                }
                _ => joined.push(span),
            }
        }
        self.spans = joined;
    }

    /// Unbroken runs of (seconds, count per second), each span a point in its middle.
    pub fn segments(&self) -> Vec<Vec<(f64, f64)>> {
        let mut segments: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut end_ns = u64::MAX;
        for &Span { from_ns, to_ns, count } in &self.spans {
            let middle_s = (from_ns + to_ns) as f64 / 2e9;
            let point = (middle_s, count as f64 * 1e9 / (to_ns - from_ns).max(1) as f64);
            match segments.last_mut() {
                Some(segment) if end_ns == from_ns => segment.push(point),
                _ => segments.push(vec![point]),
            }
            end_ns = to_ns;
        }
        segments
    }

    fn count(&self, counts: &Counts) -> u64 {
        match self.of {
            Of::Deliveries => counts.deliveries + counts.replied,
            Of::Subscribers => counts.handshakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn counts(deliveries: u64) -> Counts {
        Counts { deliveries, ..Counts::default() }
    }

    #[test]
    fn rates_are_per_second_and_pauses_break_the_line() {
        let mut timeline = Timeline::default();
        timeline.resume(0, &counts(0));
        (1..=30).for_each(|n| timeline.tick(n * 10 * MS, &counts(n * 10)));
        timeline.pause(310 * MS, &counts(310));
        timeline.resume(900 * MS, &counts(310));
        timeline.pause(950 * MS, &counts(360));
        let want = [vec![(0.05, 1000.0), (0.15, 1000.0), (0.25, 1000.0)], vec![(0.925, 1000.0)]];
        assert_eq!(timeline.segments(), want);
    }

    #[test]
    fn a_long_run_stays_small_and_loses_no_count() {
        let mut timeline = Timeline::default();
        timeline.resume(0, &counts(0));
        (1..=20_000).for_each(|n| timeline.tick(n * 100 * MS, &counts(n)));
        let spans = &timeline.spans;
        assert!((SPANS_MAX / 4..=SPANS_MAX).contains(&spans.len()), "{}", spans.len());
        let unfinished = timeline.open.map_or(0, |(_, count)| 20_000 - count);
        assert_eq!(spans.iter().map(|span| span.count).sum::<u64>() + unfinished, 20_000);
    }
}
