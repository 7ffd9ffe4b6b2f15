//! What instances of some sizes carry, computed from the figures of a report: a table for those who plan.

use std::fmt::Write;

use crate::bars::look_up;
use crate::scenario::Result;

/// Runs of `loadtest/scenarios/report.toml` that the table is computed from.
const IDLE: &str = "two shards: 15,000 idle connections";
const SINGLE: &str = "fan-out to 1,000, 1 in flight";
const BURST: &str = "fan-out to 1,000, 64 in flight";

/// Sizes: cores, and memory in GiB.
const SIZES: [(u32, u32); 5] = [(2, 4), (4, 8), (8, 32), (16, 64), (32, 128)];

/// Part of the memory that connections may take: the rest is for queues, history and bursts of buffers.
const MEMORY_SHARE: f64 = 0.5;
/// Part of the cores that pings may take.
const PING_SHARE: f64 = 0.2;
/// Part of the cores that deliveries may take.
const DELIVERY_SHARE: f64 = 0.6;
/// The default `ping_interval`.
const PING_INTERVAL_S: f64 = 25.0;

/// What one connection and one delivery cost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Costs {
    /// The broker's own and the kernel's, in bytes.
    connection_bytes: f64,
    ping_us: f64,
    /// One send each.
    single_us: f64,
    /// Up to 64 in one send.
    burst_us: f64,
}

impl Costs {
    /// `None`: a run is missing.
    fn of(results: &[Result]) -> Option<Self> {
        let figure = |run: &str, figure: &str| {
            let result = results.iter().find(|result| result.name == run)?;
            look_up(result.report.as_ref()?, figure)
        };
        let user_bytes = figure(IDLE, "broker/rss_bytes_per_connection")?;
        // Both ends were on one machine.
        let kernel_bytes = (figure(IDLE, "broker/kernel/slab_bytes_both_ends")?
            + figure(IDLE, "broker/kernel/socket_buffer_bytes_both_ends")?)
            / 2.0;
        Some(Self {
            connection_bytes: user_bytes + kernel_bytes,
            ping_us: figure(IDLE, "broker/server_us_per_ping")?,
            single_us: figure(SINGLE, "broker/server_cpu_s_per_million")?,
            burst_us: figure(BURST, "broker/server_cpu_s_per_million")?,
        })
    }
}

/// The table with its assumptions. `None`: not all runs it is computed from were made.
pub fn table(results: &[Result]) -> Option<String> {
    let costs = Costs::of(results)?;
    let host = &results.iter().find_map(|result| result.report.as_ref())?.host;
    let mut out = format!(
        "Computed from revision `{}` on {} ({}), where a connection takes {:.1} kB ({:.0} % of the memory are planned \
         for them), a ping with its answer {:.1} µs (every 25 s, {:.0} % of the cores), a delivery {:.2} µs by itself \
         and {:.2} µs in a burst ({:.0} % of the cores). The sending core paid for the receiving half too there, so \
         deliveries over a network card cost less.\n\n\
         | vCPU, memory | connections | deliveries/s, each by itself | in bursts |\n| --- | --- | --- | --- |\n",
        host.revision,
        host.cpu,
        host.kernel,
        costs.connection_bytes / 1e3,
        MEMORY_SHARE * 100.0,
        costs.ping_us,
        PING_SHARE * 100.0,
        costs.single_us,
        costs.burst_us,
        DELIVERY_SHARE * 100.0,
    );
    for (cores, gib) in SIZES {
        let _ = writeln!(
            out,
            "| {cores}, {gib} GiB | {} | {} | {} |",
            rounded(connections(costs, cores, gib)),
            rounded(f64::from(cores) * DELIVERY_SHARE * 1e6 / costs.single_us),
            rounded(f64::from(cores) * DELIVERY_SHARE * 1e6 / costs.burst_us),
        );
    }
    Some(out)
}

/// What memory holds or what pings allow, whichever is less.
fn connections(costs: Costs, cores: u32, gib: u32) -> f64 {
    let held = f64::from(gib) * f64::from(1 << 30) * MEMORY_SHARE / costs.connection_bytes;
    let pinged = f64::from(cores) * PING_SHARE * 1e6 / costs.ping_us * PING_INTERVAL_S;
    held.min(pinged)
}

/// Two significant digits, downwards, with commas.
fn rounded(value: f64) -> String {
    let unit = 10_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    let whole = ((value / unit).floor() * unit) as u64;
    let digits = whole.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_memory_and_time_decides() {
        let costs = Costs { connection_bytes: 5_000.0, ping_us: 15.0, single_us: 4.0, burst_us: 0.2 };
        // 4 GiB hold 429,000; two cores ping 667,000.
        assert_eq!(rounded(connections(costs, 2, 4)), "420,000");
        assert_eq!(rounded(connections(costs, 2, 64)), "660,000");
    }

    #[test]
    fn figures_are_rounded_down() {
        let table =
            [(0.0, "0"), (7.9, "7"), (99.0, "99"), (101.0, "100"), (1_999.0, "1,900"), (1e6, "1,000,000")];
        for (value, want) in table {
            assert_eq!(rounded(value), want);
        }
    }

    #[test]
    fn without_its_runs_there_is_no_table() {
        assert_eq!(table(&[]), None);
    }
}
