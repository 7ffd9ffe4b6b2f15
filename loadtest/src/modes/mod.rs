//! One file per mode. A mode says what is connected and published; `slices` runs it and prints the figures.

pub mod connect;
pub mod fanout;
pub mod idle;
pub mod many;
mod slices;
pub mod slow;
pub mod storm;

use std::io;

/// `Ok(true)`: nothing was lost, skipped, repeated or closed.
pub type Outcome = io::Result<bool>;
