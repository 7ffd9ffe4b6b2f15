//! WebSocket frames (RFC 6455): what a client sent, judged and unmasked in place; what a server sends, unmasked.
//!
//! ```
//! use polycast::wire::websocket::{Assembler, Incoming, Limits};
//!
//! let limits = Limits { message_bytes_max: 65_536, fragments_max: 1_024 };
//! let mut assembler = Assembler::default();
//! let mut received = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
//! let mut rest: &mut [u8] = &mut received;
//! while let Some(incoming) = assembler.next(&mut rest, &limits)? {
//!     assert_eq!(incoming, Incoming::Text(&mut b"hi".to_owned()));
//! }
//! assert!(assembler.is_idle());
//! # Ok::<(), polycast::wire::websocket::Violation>(())
//! ```

mod assembler;
mod header;
#[cfg(test)]
mod tests;
mod violation;
mod writer;

pub use assembler::{Assembler, Incoming, Limits};
pub use violation::Violation;
pub use writer::{
    HEADER_BYTES_MAX, append_client_frame, append_close, append_frame, append_ping, append_pong,
    frame_header, leading_frame,
};
