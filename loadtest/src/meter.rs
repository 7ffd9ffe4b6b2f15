//! What the server spent between two moments at which it sleeps.

use std::time::Duration;

use serde::Serialize;

use crate::account::{Process, Ticks};
use crate::sampler::{Sampler, Samples};

/// Time for the server to finish its turn and fall asleep after its last answer was seen.
const SETTLE: Duration = Duration::from_millis(2);

/// What the server spent in some span.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spent {
    /// Exact run time of all its threads.
    pub run_ns: u64,
    pub samples: Samples,
    /// The tick's view, 1/100 s.
    pub ticks: Ticks,
}

impl Spent {
    /// User share, from the finest source there is.
    pub fn user_share(&self) -> Option<f64> {
        let ticks = self.ticks.user + self.ticks.kernel;
        let coarse = (ticks > 0).then(|| self.ticks.user as f64 / ticks as f64);
        self.samples.user_share().or(coarse)
    }

    pub fn add(&mut self, other: &Spent) {
        self.run_ns += other.run_ns;
        self.samples.add(&other.samples);
        self.ticks.user += other.ticks.user;
        self.ticks.kernel += other.ticks.kernel;
    }
}

/// Reads what a process has spent so far.
pub struct Meter {
    process: Option<Process>,
    before: (u64, Ticks),
    samples: Samples,
}

impl Meter {
    pub fn start(process: Option<Process>, sampler: &mut Option<Sampler>) -> Meter {
        std::thread::sleep(SETTLE);
        if let Some(sampler) = sampler {
            sampler.skip();
        }
        let before = process.map_or_else(Default::default, |process| (process.run_ns(), process.ticks()));
        Meter { process, before, samples: Samples::default() }
    }

    /// Drains the sampler's buffer; call at least every few seconds.
    pub fn collect(&mut self, sampler: &mut Option<Sampler>) {
        if let (Some(sampler), Some(process)) = (sampler, self.process) {
            sampler.collect(process.pid, &mut self.samples);
        }
    }

    pub fn stop(mut self, sampler: &mut Option<Sampler>) -> Spent {
        std::thread::sleep(SETTLE);
        self.collect(sampler);
        let Some(process) = self.process else { return Spent::default() };
        let ticks = process.ticks();
        Spent {
            run_ns: process.run_ns().saturating_sub(self.before.0),
            samples: self.samples,
            ticks: Ticks {
                user: ticks.user - self.before.1.user,
                kernel: ticks.kernel - self.before.1.kernel,
            },
        }
    }
}
