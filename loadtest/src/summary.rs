//! Slices into figures: rates, cost per delivery, quantiles, and ratios of paired slices with their spread.

use serde::Serialize;

use crate::latency::{Latency, Quantiles};
use crate::load::Slice;
use crate::meter::Spent;
use crate::sampler::PERIOD_NS;

/// Median with the range around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let position = quantile * values.len().saturating_sub(1) as f64;
            let (low, high) = (position.floor() as usize, position.ceil() as usize);
            match (values.get(low), values.get(high)) {
                (Some(low), Some(high)) => low + (high - low) * position.fract(),
                _ => 0.0,
            }
        };
        Spread {
            median: at(0.5),
            lower_quartile: at(0.25),
            upper_quartile: at(0.75),
            min: at(0.0),
            max: at(1.0),
            count: values.len(),
        }
    }
}

/// What one contender did over all its slices.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: String,
    pub slices: usize,
    pub deliveries: u64,
    pub deliveries_per_s: f64,
    pub deliveries_per_receive: f64,
    /// Receives the client had to arm again because its buffers were all taken.
    pub starved: u64,
    /// Exact run time; the spread is over slices.
    pub server_cpu_s_per_million: Spread,
    pub user_ns_per_delivery: Option<f64>,
    /// One standard deviation of the sampling.
    pub user_ns_error: Option<f64>,
    pub kernel_ns_per_delivery: Option<f64>,
    /// Time of the core's softirq thread, sampled; not in the server's run time.
    pub softirq_thread_ns_per_delivery: f64,
    pub server_utilisation: f64,
    pub generator_utilisation: f64,
    /// Share of the server's or the client's core, whichever is larger, that others took.
    pub disturbance: f64,
    pub latency: Quantiles,
    /// How late the generator itself was (open loop).
    pub lateness: Quantiles,
    pub spent: Spent,
    pub rss_bytes: u64,
    pub rss_bytes_per_connection: f64,
}

/// A contender's cost divided by a floor's in the neighbouring slice.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    pub of: String,
    pub to: String,
    pub what: &'static str,
    pub spread: Spread,
}

impl Row {
    pub fn of(name: &str, slices: &[Slice], rss_bytes: u64, rss_bytes_per_connection: f64) -> Row {
        let total = |each: fn(&Slice) -> u64| slices.iter().map(each).sum::<u64>();
        let (deliveries, wall_ns) = (total(|s| s.deliveries), total(|s| s.wall_ns));
        let mut spent = Spent::default();
        let (mut latency, mut lateness) = (Latency::default(), Latency::default());
        for slice in slices {
            spent.add(&slice.spent);
            latency.add(&slice.latency);
            lateness.add(&slice.lateness);
        }
        let per = |value: f64, count: u64| if count == 0 { 0.0 } else { value / count as f64 };
        let each_ns = per(spent.run_ns as f64, deliveries);
        let user = spent.user_share();
        let samples = (spent.samples.user + spent.samples.kernel) as f64;
        let error = |share: f64| (share * (1.0 - share) / samples).sqrt() * each_ns;
        Row {
            name: name.to_owned(),
            slices: slices.len(),
            deliveries,
            deliveries_per_s: per(deliveries as f64 * 1e9, wall_ns),
            deliveries_per_receive: per(deliveries as f64, total(|s| s.receives)),
            starved: total(|s| s.starved),
            server_cpu_s_per_million: Spread::of(slices.iter().map(cpu_s_per_million).collect()),
            user_ns_per_delivery: user.map(|share| share * each_ns),
            user_ns_error: user.filter(|_| samples > 0.0).map(error),
            kernel_ns_per_delivery: user.map(|share| (1.0 - share) * each_ns),
            softirq_thread_ns_per_delivery: per(
                (spent.samples.softirq_thread * PERIOD_NS) as f64,
                deliveries,
            ),
            server_utilisation: per(spent.run_ns as f64, wall_ns),
            generator_utilisation: per(total(|s| s.generator_ns) as f64, wall_ns),
            disturbance: spent.samples.disturbance(),
            latency: latency.quantiles(),
            lateness: lateness.quantiles(),
            spent,
            rss_bytes,
            rss_bytes_per_connection,
        }
    }
}

fn cpu_s_per_million(slice: &Slice) -> f64 {
    if slice.deliveries == 0 { 0.0 } else { slice.spent.run_ns as f64 / 1e3 / slice.deliveries as f64 }
}

const RATE: &str = "deliveries/s";

/// Server CPU per delivery and p99 latency of `of` relative to `to`, slice by slice.
pub fn ratios(of: (&str, &[Slice]), to: (&str, &[Slice]), open_loop: bool) -> Vec<Ratio> {
    let ratio = |what, value: fn(&Slice) -> f64| {
        let pairs = of.1.iter().zip(to.1).map(|(a, b)| (value(a), value(b)));
        let ratios: Vec<f64> = pairs.filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b).collect();
        Ratio { of: of.0.to_owned(), to: to.0.to_owned(), what, spread: Spread::of(ratios) }
    };
    let mut all = vec![ratio("server CPU per delivery", cpu_s_per_million)];
    if open_loop {
        all.push(ratio("p99 latency", |slice| slice.latency.quantiles().p99_ms));
    } else {
        all.push(ratio(RATE, |slice| slice.deliveries as f64 / slice.wall_ns as f64));
    }
    all
}

/// Ratios of cost and latency, for the end of a sentence.
pub fn against(ratios: &[Ratio]) -> String {
    let told = ratios.iter().filter(|ratio| ratio.what != RATE);
    told.map(|ratio| format!("; {} {:.3} × {}", ratio.what, ratio.spread.median, ratio.to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Ticks;
    use crate::sampler::Samples;

    fn slice(run_ns: u64, deliveries: u64) -> Slice {
        let samples = Samples {
            user: 10,
            kernel: 90,
            others: 25,
            server_core_ns: 125 * PERIOD_NS,
            ..Samples::default()
        };
        Slice {
            wall_ns: 500_000_000,
            deliveries,
            receives: deliveries / 2,
            starved: 0,
            spent: Spent { run_ns, samples, ticks: Ticks { user: 1, kernel: 1 } },
            generator_ns: 250_000_000,
            latency: Latency::default(),
            lateness: Latency::default(),
        }
    }

    #[test]
    fn quartiles_lie_between_values() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!((spread.lower_quartile, spread.upper_quartile), (1.75, 3.25));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn a_row_is_weighted_by_deliveries_and_ratios_by_slice() {
        let broker = [slice(400_000_000, 100_000), slice(300_000_000, 100_000)];
        let floor = [slice(200_000_000, 100_000), slice(200_000_000, 100_000)];
        let row = Row::of("broker", &broker, 0, 0.0);
        assert_eq!(row.deliveries_per_s, 200_000.0);
        assert_eq!(row.deliveries_per_receive, 2.0);
        assert_eq!(row.server_cpu_s_per_million.median, 3.5);
        assert_eq!(row.user_ns_per_delivery.map(f64::round), Some(350.0));
        assert_eq!(row.disturbance, 0.2);
        assert_eq!(ratios(("a", &broker), ("b", &floor), false)[0].spread.median, 1.75);
    }

    #[test]
    fn no_deliveries_make_no_nonsense() {
        let row = Row::of("dead", &[slice(1, 0)], 0, 0.0);
        assert_eq!((row.deliveries_per_s, row.server_cpu_s_per_million.median), (0.0, 0.0));
    }
}
