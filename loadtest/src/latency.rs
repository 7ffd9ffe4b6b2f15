//! Latency as a histogram that a stalled generator cannot flatter.
//!
//! In the open loop every publication has an intended time on a fixed schedule, and its deliveries are measured from
//! that time even when the generator sent it late; a stall therefore shows up in every publication it delayed
//! (coordinated omission). The test below compares this with hdrhistogram's own correction of service times.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart; longer ones count as this.
const MAX_NS: u64 = 120_000_000_000;

#[derive(Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Default for Latency {
    fn default() -> Latency {
        let histogram = Histogram::new_with_bounds(1_000, MAX_NS, 3).expect("bounds are in order");
        Latency { histogram }
    }
}

impl Latency {
    /// `from_ns`: when it should have begun; `now_ns`: when it was over.
    pub fn record(&mut self, from_ns: u64, now_ns: u64) {
        self.histogram.saturating_record(now_ns.saturating_sub(from_ns));
    }

    pub fn add(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// (percentile, milliseconds), denser towards 100, where the stalls are, as far as so many values can tell.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let last = 100.0 - 100.0 / self.histogram.len().max(1) as f64;
        let mut curve = Vec::new();
        for step in self.histogram.iter_quantiles(4) {
            let over = step.percentile() >= last;
            curve.push((step.percentile().min(last), step.value_iterated_to() as f64 / 1e6));
            if over {
                break;
            }
        }
        curve
    }

    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e6;
        Quantiles {
            count: self.histogram.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.histogram.max() as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// One request per millisecond for a second; the server stalls for 200 ms in the middle, otherwise 0.1 ms.
    fn service_times() -> impl Iterator<Item = u64> {
        (0..800).map(|i| if i == 400 { 200 * MS } else { MS / 10 })
    }

    #[test]
    fn a_stall_counts_for_every_publication_it_delayed() {
        let mut naive = Latency::default();
        let mut intended = Latency::default();
        let mut corrected = Latency::default();
        // The naive generator waits for each answer and so sends 800 requests in the second, 199 fewer than it should.
        for service_ns in service_times() {
            naive.record(0, service_ns);
            corrected.histogram.record_correct(service_ns, MS).expect("in range");
        }
        let mut free_ns = 0;
        for (number, service_ns) in service_times().chain(std::iter::repeat_n(MS / 10, 199)).enumerate() {
            let due_ns = number as u64 * MS;
            free_ns = due_ns.max(free_ns) + service_ns;
            intended.record(due_ns, free_ns);
        }
        assert!(naive.quantiles().p99_ms < 0.2, "the uncorrected p99 hides the stall");
        for (name, quantiles) in [("intended", intended.quantiles()), ("corrected", corrected.quantiles())] {
            assert_eq!(quantiles.count, 999, "{name}");
            assert!((185.0..201.0).contains(&quantiles.p99_ms), "{name}: {quantiles:?}");
            assert!((199.0..201.0).contains(&quantiles.max_ms), "{name}: {quantiles:?}");
        }
    }

    #[test]
    fn the_curve_rises_to_the_longest() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|n| latency.record(0, n * MS));
        let curve = latency.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        let half = curve.iter().find(|(percentile, _)| *percentile >= 50.0).expect("a median");
        assert!((half.1 - 500.0).abs() < 2.0, "{half:?}");
        let (percentile, ms) = *curve.last().expect("an end");
        assert!((percentile - 99.9).abs() < 0.01 && ms > 998.0, "{curve:?}");
        assert_eq!(Latency::default().curve(), Vec::new());
    }

    #[test]
    fn longer_than_two_minutes_counts_as_two_minutes() {
        let mut latency = Latency::default();
        latency.record(0, 500_000_000_000);
        assert!(latency.quantiles().max_ms > 119_000.0);
    }
}
