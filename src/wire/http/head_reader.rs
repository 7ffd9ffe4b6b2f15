//! Finds the end of a request head in a stream of received buffers; each byte is looked at once.

use std::borrow::Cow;
use std::io::BufRead;

use super::error::HttpError;
use super::head::HttpLimits;

/// One connection's state while a request head is incomplete: eight bytes when there is none.
#[derive(Debug, Default)]
pub struct HeadReader(Option<Box<PartialHead>>);

#[derive(Debug)]
struct PartialHead {
    /// Searched, without the end.
    bytes: Vec<u8>,
    /// Work done, so that a test can see that it is linear.
    #[cfg(test)]
    searched_bytes: usize,
}

/// A whole request head, up to and with its empty line.
#[derive(Debug, PartialEq, Eq)]
pub struct TakenHead<'a> {
    /// Lies in the input, or was gathered over several.
    pub bytes: Cow<'a, [u8]>,
    /// How much of the input belongs to it; the rest is a body, the next request or the first WebSocket frames.
    pub used_bytes: usize,
}

impl HeadReader {
    /// Takes a request head from the front of `input`. `None`: all of `input` was taken and is kept.
    ///
    /// No copy and no allocation when the head lies whole in `input`. Otherwise memory is at most twice what has
    /// arrived, and only the new bytes are searched: parsing waits for the end, so a head arriving byte by byte
    /// costs linear time. Errors (the state is gone then): `HeadTooBig`, `BareLineFeed`.
    pub fn take<'a>(
        &mut self,
        input: &'a [u8],
        limits: &HttpLimits,
    ) -> Result<Option<TakenHead<'a>>, HttpError> {
        let Some(mut kept) = self.0.take() else { return self.take_first(input, limits) };
        let kept_bytes = kept.bytes.len();
        // One byte over the limit proves that it is exceeded.
        let room = (usize::from(limits.head_bytes_max) + 1).saturating_sub(kept_bytes);
        kept.bytes.extend_from_slice(&input[..input.len().min(room)]);
        match kept.search(kept_bytes)? {
            Some(end) if end <= usize::from(limits.head_bytes_max) => {
                kept.bytes.truncate(end);
                Ok(Some(TakenHead { bytes: Cow::Owned(kept.bytes), used_bytes: end - kept_bytes }))
            }
            None if kept.bytes.len() <= usize::from(limits.head_bytes_max) => {
                self.0 = Some(kept);
                Ok(None)
            }
            _ => Err(HttpError::HeadTooBig { limit: limits.head_bytes_max }),
        }
    }

    /// No head is incomplete: no memory is held. An incomplete one can be given a time limit.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes allocated for what is incomplete.
    pub fn memory_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |kept| size_of::<PartialHead>() + kept.bytes.capacity())
    }

    #[cfg(test)]
    pub(super) fn searched_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |kept| kept.searched_bytes)
    }

    fn take_first<'a>(
        &mut self,
        input: &'a [u8],
        limits: &HttpLimits,
    ) -> Result<Option<TakenHead<'a>>, HttpError> {
        match end_of_head(input, 0)? {
            Some(end) if end <= usize::from(limits.head_bytes_max) => {
                Ok(Some(TakenHead { bytes: Cow::Borrowed(&input[..end]), used_bytes: end }))
            }
            None if input.is_empty() => Ok(None),
            None if input.len() <= usize::from(limits.head_bytes_max) => {
                self.0 = Some(Box::new(PartialHead {
                    bytes: input.to_vec(),
                    #[cfg(test)]
                    searched_bytes: input.len(),
                }));
                Ok(None)
            }
            _ => Err(HttpError::HeadTooBig { limit: limits.head_bytes_max }),
        }
    }
}

impl PartialHead {
    /// See [`end_of_head`].
    fn search(&mut self, from: usize) -> Result<Option<usize>, HttpError> {
        #[cfg(test)]
        {
            self.searched_bytes += self.bytes.len() - from;
        }
        end_of_head(&self.bytes, from)
    }
}

/// Where the first empty line ends. Looks at bytes from `from` on, and at the three before.
///
/// A single empty line in front of the request line does not count (RFC 9112 section 2.2); two are a head
/// without a request line, which the parser refuses.
fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, HttpError> {
    let mut rest = &bytes[from..];
    // Reading lines from memory cannot fail; it searches with the C library's vectorised `memchr`.
    while rest.skip_until(b'\n').is_ok_and(|skipped| skipped > 0) {
        let end = bytes.len() - rest.len();
        let Some(line) = bytes[..end].strip_suffix(b"\n") else { break };
        match line {
            [.., b'\r', b'\n', b'\r'] => return Ok(Some(end)),
            [.., b'\r'] => {}
            _ => return Err(HttpError::BareLineFeed),
        }
    }
    Ok(None)
}
