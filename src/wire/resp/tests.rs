use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: RespLimits =
    RespLimits { argument_bytes_max: 40, arguments_max: 4, command_bytes_max: 100, inline_bytes_max: 64 };

/// Every command of a stream that arrives in these pieces, and how it ended.
fn read(pieces: &[&[u8]], limits: &RespLimits) -> (Vec<Vec<Vec<u8>>>, Option<RespError>) {
    let (mut reader, mut arguments) = (CommandReader::default(), Arguments::default());
    let mut commands = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match reader.next(&mut rest, &mut arguments, limits) {
                Ok(Some(bytes)) => commands.push(arguments.of(&bytes).map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
        assert!(rest.is_empty(), "what is not handed out is kept");
    }
    (commands, None)
}

fn words(commands: &[&[&str]]) -> Vec<Vec<Vec<u8>>> {
    let bytes = |word: &&str| word.as_bytes().to_vec();
    commands.iter().map(|command| command.iter().map(bytes).collect()).collect()
}

/// Name, stream, the commands in it, and how it ends.
type Row = (&'static str, &'static str, &'static [&'static [&'static str]], Option<RespError>);

#[test]
fn commands_are_read() {
    let table: [Row; 37] = [
        ("an array", "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", &[&["ECHO", "hi"]], None),
        ("two at once", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", &[&["PING"], &["QUIT"]], None),
        ("an empty argument", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&["ECHO", ""]], None),
        ("line ends within", "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", &[&["ECHO", "\r\n\r\n"]], None),
        ("an unfinished one", "*2\r\n$4\r\nECHO\r\n$2\r\nh", &[], None),
        ("empty arrays are nothing", "*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", &[&["PING"]], None),
        (
            "as many arguments as may be",
            "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n",
            &[&["a", "b", "c", "d"]],
            None,
        ),
        ("too many arguments", "*5\r\n", &[], Some(RespError::Arguments { max: 4 })),
        ("very many arguments", "*1000000000\r\n", &[], Some(RespError::Arguments { max: 4 })),
        ("more than a machine counts", "*99999999999999999999\r\n", &[], Some(RespError::ArrayLength)),
        ("no number", "*x\r\n", &[], Some(RespError::ArrayLength)),
        ("no number at all", "*\r\n", &[], Some(RespError::ArrayLength)),
        ("a plus sign", "*+1\r\n", &[], Some(RespError::ArrayLength)),
        ("a bare line feed", "*1\n", &[], Some(RespError::ArrayLength)),
        (
            "a number without end",
            "*00000000000000000000000000000000001\r\n",
            &[],
            Some(RespError::ArrayLength),
        ),
        ("an array within", "*1\r\n*1\r\n$4\r\nPING\r\n", &[], Some(RespError::Argument { got: b'*' })),
        ("a number within", "*1\r\n:1\r\n", &[], Some(RespError::Argument { got: b':' })),
        ("a null argument", "*1\r\n$-1\r\n", &[], Some(RespError::BulkLength)),
        ("a bulk without number", "*1\r\n$\r\n", &[], Some(RespError::BulkLength)),
        (
            "as long as may be",
            "*1\r\n$40\r\n0123456789012345678901234567890123456789\r\n",
            &[&["0123456789012345678901234567890123456789"]],
            None,
        ),
        ("announced too long", "*1\r\n$41\r\n", &[], Some(RespError::TooLong { max: 40 })),
        ("announced absurd", "*1\r\n$9223372036854775807\r\n", &[], Some(RespError::TooLong { max: 40 })),
        (
            "too long together",
            "*4\r\n$40\r\n0123456789012345678901234567890123456789\r\n$40\r\n0123456789012345678901234567890123456789\r\n$2\r\n",
            &[],
            Some(RespError::CommandTooLong { max: 100 }),
        ),
        ("shorter than its bytes", "*1\r\n$3\r\nPING\r\n", &[], Some(RespError::BulkLength)),
        ("a line", "PING\r\n", &[&["PING"]], None),
        ("a line as nc sends it", "PUBLISH chat hello\n", &[&["PUBLISH", "chat", "hello"]], None),
        ("empty lines", "\r\n\r\n\nPING\r\n", &[&["PING"]], None),
        ("blanks", "  ECHO \t hi  \r\n", &[&["ECHO", "hi"]], None),
        ("double quotes", "ECHO \"a b\\\"\\x41\\n\\\\\"\r\n", &[&["ECHO", "a b\"A\n\\"]], None),
        ("single quotes", "ECHO 'a \\' \\n b'\r\n", &[&["ECHO", "a ' \\n b"]], None),
        ("quotes around nothing", "ECHO \"\" ''\r\n", &[&["ECHO", "", ""]], None),
        ("quotes that do not end", "ECHO \"a\r\n", &[], Some(RespError::Quotes)),
        ("quotes that end within a word", "ECHO \"a\"b\r\n", &[], Some(RespError::Quotes)),
        ("too many words", "a b c d e\r\n", &[], Some(RespError::Arguments { max: 4 })),
        (
            "a line without end",
            "0123456789012345678901234567890123456789012345678901234567890123",
            &[],
            Some(RespError::InlineTooLong),
        ),
        (
            "a long line",
            "012345678901234567890123456789012345678901234567890123456789012\n",
            &[&["012345678901234567890123456789012345678901234567890123456789012"]],
            None,
        ),
        (
            "commands before an error",
            "PING\r\n*1\r\n!",
            &[&["PING"]],
            Some(RespError::Argument { got: b'!' }),
        ),
    ];
    for (name, stream, want, error) in table {
        assert_eq!(read(&[stream.as_bytes()], &LIMITS), (words(want), error), "{name}");
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(read(&single, &LIMITS), (words(want), error), "{name}, byte by byte");
    }
}

#[test]
fn what_is_announced_is_not_allocated() {
    let limits = RespLimits { argument_bytes_max: 1 << 30, command_bytes_max: 1 << 31, ..LIMITS };
    let (mut reader, mut arguments) = (CommandReader::default(), Arguments::default());
    let mut rest: &[u8] = b"*2\r\n$7\r\nPUBLISH\r\n$1073741824\r\nabc";
    assert_eq!(reader.next(&mut rest, &mut arguments, &limits), Ok(None));
    assert!(reader.kept_bytes() < 1_024, "{} bytes are kept", reader.kept_bytes());
    assert_eq!(size_of::<CommandReader>(), 8);
}

#[test]
fn what_follows_an_unfinished_command_is_read_in_place() {
    let (mut reader, mut arguments) = (CommandReader::default(), Arguments::default());
    let mut rest: &[u8] = b"*1\r\n$4\r\nPI";
    assert_eq!(reader.next(&mut rest, &mut arguments, &LIMITS), Ok(None));
    let mut rest: &[u8] = b"NG\r\n*1\r\n$4\r\nQUIT\r\n";
    assert!(matches!(reader.next(&mut rest, &mut arguments, &LIMITS), Ok(Some(std::borrow::Cow::Owned(_)))));
    assert!(!reader.is_partial());
    assert!(matches!(
        reader.next(&mut rest, &mut arguments, &LIMITS),
        Ok(Some(std::borrow::Cow::Borrowed(_)))
    ));
}

#[test]
fn replies_in_both_versions() {
    use RespVersion::{Resp2, Resp3};
    let map = [("server", Reply::Bulk(b"redis")), ("proto", Reply::Integer(3))];
    let table: [(Reply<'_>, &str, &str); 9] = [
        (Reply::Simple("OK"), "+OK\r\n", "+OK\r\n"),
        (Reply::Error("ERR no"), "-ERR no\r\n", "-ERR no\r\n"),
        (Reply::Integer(0), ":0\r\n", ":0\r\n"),
        (Reply::Integer(-12), ":-12\r\n", ":-12\r\n"),
        (Reply::Bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
        (Reply::Bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (Reply::Null, "$-1\r\n", "_\r\n"),
        (Reply::ArrayOf(12), "*12\r\n", "*12\r\n"),
        (
            Reply::Map(&map),
            "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
            "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
        ),
    ];
    for (reply, want2, want3) in table {
        for (version, want) in [(Resp2, want2), (Resp3, want3)] {
            let mut out = b"before".to_vec();
            append_reply(reply, version, &mut out);
            assert_eq!(out, [b"before", want.as_bytes()].concat(), "{reply:?} {version:?}");
        }
    }
    for number in
        (0..19).map(|power| 10_i64.pow(power)).flat_map(|power| [power - 1, power, power + 1, -power])
    {
        let mut out = Vec::new();
        append_reply(Reply::Integer(number), Resp2, &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!(":{number}\r\n")));
    }
}

/// A stream that mostly consists of commands, well formed and not.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = vec(any::<u8>(), 0..45);
    let array = vec(word, 0..5).prop_map(|words| {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(&word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let line = "[ -~]{0,70}\r?\n".prop_map(String::into_bytes);
    let noise =
        vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()], 0..12);
    vec(prop_oneof![8 => array, 4 => line, 1 => noise], 0..6).prop_map(|parts| parts.concat())
}

#[test]
fn a_long_line_is_a_long_line_whatever_it_begins_with() {
    let line = [b"$**".as_slice(), &b"a".repeat(LIMITS.inline_bytes_max)].concat();
    let whole = read(&[&line], &LIMITS);
    assert_eq!(whole.1, Some(RespError::InlineTooLong));
    assert_eq!(read(&[&line[..5], &line[5..]], &LIMITS), whole);
}

proptest! {
    #[test]
    fn cuts_do_not_matter(stream in stream(), cuts in vec(1_usize..50, 1..60)) {
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(read(&pieces, &LIMITS), read(&[&stream], &LIMITS));
    }

    #[test]
    fn what_was_sent_is_what_is_read(commands in vec(vec(vec(any::<u8>(), 0..20), 1..4), 0..5)) {
        let mut stream = Vec::new();
        for command in &commands {
            stream.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                stream.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                stream.extend_from_slice(word);
                stream.extend_from_slice(b"\r\n");
            }
        }
        prop_assert_eq!(read(&[&stream], &LIMITS), (commands, None));
    }
}
