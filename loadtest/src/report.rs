//! The report of a run: machine, figures, curves, verdict. Printed by its mode; here it becomes JSON and a page.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use crate::host::Host;
use crate::html;
use crate::options::Options;
use crate::sampler::SAMPLES_PER_SECOND;
use crate::summary::{Ratio, Row};

/// Above this share of a core taken by others, a figure should be repeated on a quieter machine.
const DISTURBANCE_MAX: f64 = 0.05;

/// Above this share of the server's run time, work put off to the softirq thread is mentioned.
const SOFTIRQ_MAX: f64 = 0.01;

#[derive(Debug, Serialize)]
pub struct Report {
    pub mode: &'static str,
    /// What was loaded, and what came out, in a line each.
    pub load: String,
    pub outcome: String,
    pub host: Host,
    pub settings: Value,
    /// One per contender, or per load of a contender; what is in it depends on the mode, but each has a `name`.
    pub rows: Vec<Value>,
    pub ratios: Vec<Ratio>,
    pub curves: Vec<Curve>,
    /// Largest share of a core that others took while a contender was measured.
    pub disturbance: f64,
    /// Empty: no loss, no gap, no disorder, no lost connection.
    pub faults: Vec<String>,
}

/// What a contender looks like drawn.
#[derive(Debug, Default, Serialize)]
pub struct Curve {
    pub name: String,
    /// (percentile, milliseconds)
    pub latency: Vec<(f64, f64)>,
    /// Unbroken runs of (seconds, count per second).
    pub rate: Vec<Vec<(f64, f64)>>,
}

impl Report {
    pub fn new(
        mode: &'static str,
        host: Host,
        settings: &impl Serialize,
        rows: &[impl Serialize],
    ) -> io::Result<Report> {
        Ok(Report {
            mode,
            load: String::new(),
            outcome: String::new(),
            host,
            settings: serde_json::to_value(settings)?,
            rows: rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
            ratios: Vec::new(),
            curves: Vec::new(),
            disturbance: 0.0,
            faults: Vec::new(),
        })
    }

    pub fn undisturbed(&self) -> bool {
        self.disturbance <= DISTURBANCE_MAX
    }

    /// Prints the verdict and writes the files that are asked for.
    pub fn finish(self, options: &Options) -> io::Result<Report> {
        let share = self.disturbance * 100.0;
        match self.undisturbed() {
            true => println!("quiet     undisturbed: others took at most {share:.1} % of a core"),
            false => println!("DISTURBED others took up to {share:.0} % of a core: the figures do not count"),
        }
        match self.faults.as_slice() {
            [] => println!("verdict   no loss, no gap, no disorder"),
            faults => faults.iter().for_each(|fault| println!("FAULT     {fault}")),
        }
        if let Some(path) = &options.json {
            serde_json::to_writer_pretty(File::create(path)?, &self)?;
        }
        if let Some(path) = &options.html {
            fs::write(path, html::page(&format!("loadtest {}", self.mode), &[(&self.load, &self)]))?;
        }
        Ok(self)
    }
}

/// Table of deliveries, cost and latency.
pub fn print_deliveries(rows: &[Row]) {
    println!(
        "\n{:<20} {:>11} {:>8} {:>7} {:>13} {:>14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>5} {:>5} {:>6} {:>9}",
        "contender",
        "deliv/s",
        "per recv",
        "CPU s/M",
        "min..max",
        "user ns",
        "kern ns",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "srv%",
        "gen%",
        "other%",
        "RSS/conn"
    );
    for row in rows {
        let cpu = row.server_cpu_s_per_million;
        // Nothing is accounted when the server's process is not known.
        let known = row.spent.run_ns > 0;
        let shown = |value: f64| if known { format!("{value:.3}") } else { "-".to_owned() };
        let user = match (row.user_ns_per_delivery, row.user_ns_error) {
            (Some(user), Some(error)) => format!("{user:.0} ±{error:.0}"),
            (Some(user), None) => format!("~{user:.0} (tick)"),
            _ => "-".to_owned(),
        };
        println!(
            "{:<20} {:>11.0} {:>8.1} {:>7} {:>13} {:>14} {:>7.0} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>5.0} {:>5.0} {:>6.1} {:>9.0}",
            row.name,
            row.deliveries_per_s,
            row.deliveries_per_receive,
            shown(cpu.median),
            format!("{}..{}", shown(cpu.min), shown(cpu.max)),
            user,
            row.kernel_ns_per_delivery.unwrap_or(0.0),
            row.latency.p50_ms,
            row.latency.p99_ms,
            row.latency.p999_ms,
            row.latency.max_ms,
            row.server_utilisation * 100.0,
            row.generator_utilisation * 100.0,
            row.disturbance * 100.0,
            row.rss_bytes_per_connection,
        );
    }
    println!(
        "(CPU: exact run time, median and range over slices. user/kern: sampled {SAMPLES_PER_SECOND}/s on the server's cores, \
         or by the kernel's tick where that is not permitted. other: share of a core that others took.)"
    );
    let share = |row: &Row| row.softirq_thread_ns_per_delivery / (row.server_cpu_s_per_million.median * 1e3);
    for row in rows.iter().filter(|row| share(row) > SOFTIRQ_MAX) {
        let each_ns = row.softirq_thread_ns_per_delivery;
        println!(
            "softirq   {}: {each_ns:.0} ns per delivery ran in ksoftirqd, beside the server's run time",
            row.name
        );
    }
    for row in rows.iter().filter(|row| row.lateness.count > 0) {
        println!(
            "{:<20} generator late by p50 {:.3} p99 {:.3} max {:.3} ms",
            row.name, row.lateness.p50_ms, row.lateness.p99_ms, row.lateness.max_ms
        );
    }
}

pub fn print_ratios(ratios: &[Ratio]) {
    for Ratio { of, to, what, spread } in ratios {
        println!(
            "ratio     {of} / {to}, {what}: median {:.3}, quartiles {:.3}..{:.3}, range {:.3}..{:.3} over {} pairs",
            spread.median, spread.lower_quartile, spread.upper_quartile, spread.min, spread.max, spread.count
        );
    }
}

/// One line that overwrites itself on a terminal, and nothing elsewhere.
pub fn progress(text: &str) {
    let mut error = io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r\x1b[K{text}");
        let _ = error.flush();
    }
}

/// Clears the progress line.
pub fn progress_end() {
    progress("");
}
