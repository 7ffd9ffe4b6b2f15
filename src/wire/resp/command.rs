//! Received bytes → commands, wherever they were cut.

use std::borrow::Cow;
use std::ops::Range;

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use super::{Reply, RespError, RespVersion, append_reply, inline};

/// Longest line that announces a length: `*`, `$` or a sign, 20 digits, line end. Redis allows 64 KiB.
const HEADER_BYTES_MAX: usize = 32;

/// What a command may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RespLimits {
    /// Of one argument; a publication is one.
    pub argument_bytes_max: usize,
    pub arguments_max: usize,
    /// Of one command with everything that frames it.
    pub command_bytes_max: usize,
    /// Of one command written as a line.
    pub inline_bytes_max: usize,
}

/// Where the arguments of a command lie. The caller owns and reuses it: no allocation per command.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Behind the last complete argument.
    at: usize,
    /// Arguments still to come; `None`: the array's own line has not been read.
    missing: Option<usize>,
    ranges: Vec<Range<usize>>,
}

impl Arguments {
    /// The arguments of the command whose bytes [`CommandReader::next`] handed out; the first is its name.
    pub fn of<'b>(&self, bytes: &'b [u8]) -> impl ExactSizeIterator<Item = &'b [u8]> + Clone {
        self.ranges.iter().map(|range| bytes.get(range.clone()).unwrap_or_default())
    }

    pub(super) fn push(&mut self, range: Range<usize>) {
        self.ranges.push(range);
    }

    fn clear(&mut self) {
        (self.at, self.missing) = (0, None);
        self.ranges.clear();
    }
}

/// What reading on came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The command ends here, counted from its first byte.
    Complete(usize),
    /// The line at `Arguments::at` has no end yet and may have so many bytes.
    Line(usize),
    /// So many bytes are missing at least.
    Bytes(usize),
}

/// The unfinished command of one connection: eight bytes while there is none.
#[derive(Debug, Default)]
pub struct CommandReader(Option<Box<Partial>>);

/// A command that straddles receives.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    arguments: Arguments,
    /// What it waits for; never [`Progress::Complete`].
    wants: Progress,
}

impl CommandReader {
    /// Takes the next command off `rest`. `None`: `rest` is used up, and its tail is kept.
    ///
    /// What lies whole in `rest` is handed out in place. Else its bytes are gathered, each copied once and looked
    /// at once; what is kept grows with what has arrived, to at most twice `limits.command_bytes_max`. Empty
    /// commands are passed over. After an error nothing may be read any more.
    pub fn next<'b>(
        &mut self,
        rest: &mut &'b [u8],
        arguments: &mut Arguments,
        limits: &RespLimits,
    ) -> Result<Option<Cow<'b, [u8]>>, RespError> {
        while !rest.is_empty() {
            let command = match self.0.take() {
                Some(partial) => match self.go_on(partial, rest, arguments, limits)? {
                    Some(bytes) => Cow::Owned(bytes),
                    None => return Ok(None),
                },
                None => {
                    arguments.clear();
                    match advance(rest, arguments, limits)? {
                        Progress::Complete(length) => {
                            let (command, behind) = rest.split_at(length);
                            *rest = behind;
                            Cow::Borrowed(command)
                        }
                        wants => {
                            let bytes = rest.to_vec();
                            *rest = &[];
                            let arguments = std::mem::take(arguments);
                            self.0 = Some(Box::new(Partial { bytes, arguments, wants }));
                            return Ok(None);
                        }
                    }
                }
            };
            let command = match command.first() {
                Some(b'*') => command,
                _ => Cow::Owned(inline::split(&command, arguments, limits)?),
            };
            if !arguments.ranges.is_empty() {
                return Ok(Some(command));
            }
        }
        Ok(None)
    }

    /// Whether a command has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.0.is_some()
    }

    /// Memory held for an unfinished command.
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |partial| size_of::<Partial>() + partial.bytes.capacity())
    }

    /// Adds to an unfinished command what it waits for, and no more: what follows is read in place again.
    fn go_on(
        &mut self,
        mut partial: Box<Partial>,
        rest: &mut &[u8],
        arguments: &mut Arguments,
        limits: &RespLimits,
    ) -> Result<Option<Vec<u8>>, RespError> {
        loop {
            let (length, is_enough) = match partial.wants {
                Progress::Bytes(missing) => (missing.min(rest.len()), missing <= rest.len()),
                Progress::Line(_) => match rest.iter().position(|byte| *byte == b'\n') {
                    Some(end) => (end + 1, true),
                    None => (rest.len(), false),
                },
                Progress::Complete(_) => unreachable!("a complete command is handed out"),
            };
            let (taken, behind) = rest.split_at(length);
            *rest = behind;
            partial.bytes.extend_from_slice(taken);
            partial.wants = match partial.wants {
                Progress::Bytes(missing) if !is_enough => Progress::Bytes(missing - length),
                Progress::Line(bytes_max) if !is_enough => {
                    if partial.bytes.len() - partial.arguments.at >= bytes_max {
                        // The line of an array may be that of an argument; any other is the command itself.
                        return Err(match partial.bytes.first() {
                            Some(b'*') => line_too_long(&partial.bytes[partial.arguments.at..]),
                            _ => RespError::InlineTooLong,
                        });
                    }
                    Progress::Line(bytes_max)
                }
                _ => match advance(&partial.bytes, &mut partial.arguments, limits)? {
                    Progress::Complete(_) => {
                        *arguments = partial.arguments;
                        return Ok(Some(partial.bytes));
                    }
                    wants => wants,
                },
            };
            if rest.is_empty() {
                self.0 = Some(partial);
                return Ok(None);
            }
        }
    }
}

/// Appends a command as an array of bulk strings.
pub fn append_command<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        append_reply(Reply::Bulk(argument), RespVersion::Resp2, out);
    }
}

/// Reads on in a command that begins with `bytes`, from where `arguments` stands.
fn advance(bytes: &[u8], arguments: &mut Arguments, limits: &RespLimits) -> Result<Progress, RespError> {
    if bytes.first() != Some(&b'*') {
        return match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) if end < limits.inline_bytes_max => Ok(Progress::Complete(end + 1)),
            None if bytes.len() < limits.inline_bytes_max => Ok(Progress::Line(limits.inline_bytes_max)),
            _ => Err(RespError::InlineTooLong),
        };
    }
    let mut missing = match arguments.missing {
        Some(missing) => missing,
        None => {
            let Some((count, used)) = announced(bytes)? else { return Ok(Progress::Line(HEADER_BYTES_MAX)) };
            arguments.at = used;
            // -1 and 0 are empty commands.
            let count = usize::try_from(count).unwrap_or(0);
            if count > limits.arguments_max {
                return Err(RespError::Arguments { max: limits.arguments_max });
            }
            count
        }
    };
    while missing > 0 {
        arguments.missing = Some(missing);
        let rest = bytes.get(arguments.at..).unwrap_or_default();
        match rest.first() {
            None => return Ok(Progress::Bytes(1)),
            Some(b'$') => {}
            Some(other) => return Err(RespError::Argument { got: *other }),
        }
        let Some((length, used)) = announced(rest)? else { return Ok(Progress::Line(HEADER_BYTES_MAX)) };
        let length = usize::try_from(length).map_err(|_| RespError::BulkLength)?;
        if length > limits.argument_bytes_max {
            return Err(RespError::TooLong { max: limits.argument_bytes_max });
        }
        let end = used + length + 2;
        if arguments.at + end > limits.command_bytes_max {
            return Err(RespError::CommandTooLong { max: limits.command_bytes_max });
        }
        let Some(argument) = rest.get(..end) else { return Ok(Progress::Bytes(end - rest.len())) };
        // One bulk string, whole and within bounds: the crate has nothing to wait for and nowhere to descend to.
        let Ok(Some((RangeFrame::BulkString((from, to)), _))) = decode_range(argument) else {
            return Err(RespError::BulkLength);
        };
        if !argument.ends_with(b"\r\n") {
            return Err(RespError::BulkLength);
        }
        arguments.push(arguments.at + from..arguments.at + to);
        arguments.at += end;
        missing -= 1;
    }
    arguments.missing = Some(0);
    Ok(Progress::Complete(arguments.at))
}

/// The number of a line like `*3\r\n` or `$11\r\n`, and the line's length. `None`: the line has no end yet.
fn announced(line: &[u8]) -> Result<Option<(i64, usize)>, RespError> {
    let looked_at = &line[..line.len().min(HEADER_BYTES_MAX)];
    let Some(end) = looked_at.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < HEADER_BYTES_MAX { Ok(None) } else { Err(line_too_long(line)) };
    };
    let number = looked_at.get(1..end).and_then(|line| line.strip_suffix(b"\r"));
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
    let number = number.filter(|digits| !digits.starts_with('+')).and_then(|digits| digits.parse().ok());
    number.map(|number| Some((number, end + 1))).ok_or_else(|| line_too_long(line))
}

/// What is wrong with a line that is no length.
fn line_too_long(line: &[u8]) -> RespError {
    match line.first() {
        Some(b'*') => RespError::ArrayLength,
        Some(b'$') => RespError::BulkLength,
        _ => RespError::InlineTooLong,
    }
}
