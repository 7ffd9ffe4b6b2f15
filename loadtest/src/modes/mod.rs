//! One file per mode. A mode says what is connected and published; `slices` runs it and prints the figures.

pub mod connect;
pub mod fanout;
pub mod idle;
pub mod many;
pub mod mix;
pub mod publish;
pub mod rpc;
mod slices;
pub mod slow;
pub mod storm;

use std::io;

use crate::report::Report;

/// Errors: the run could not be made.
pub type Outcome = io::Result<Report>;
