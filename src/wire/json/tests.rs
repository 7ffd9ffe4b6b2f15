use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn parse(text: &[u8]) -> Result<Value<'_>, JsonError> {
    Json::new().parse(text)
}

fn object(text: &str) -> Object<'_> {
    parse(text.as_bytes()).expect("valid").as_object().expect("an object")
}

#[test]
fn valid_texts_are_cut_out_byte_for_byte() {
    let table: [(&str, &str, Kind); 13] = [
        (" null\n", "null", Kind::Null),
        ("true", "true", Kind::Bool),
        ("\r\n\tfalse", "false", Kind::Bool),
        ("0", "0", Kind::Number),
        ("-0.0e+00", "-0.0e+00", Kind::Number),
        ("1e400", "1e400", Kind::Number),
        ("[18446744073709551616, 1e-400]", "[18446744073709551616, 1e-400]", Kind::Array),
        (r#" "a\u0000\"b" "#, r#""a\u0000\"b""#, Kind::String),
        ("\"\u{2028}ä𝄞\"", "\"\u{2028}ä𝄞\"", Kind::String),
        (r#""\ud834\udd1e""#, r#""\ud834\udd1e""#, Kind::String),
        ("{}", "{}", Kind::Object),
        (r#"{ "a" : [ ] , "b":"}" }"#, r#"{ "a" : [ ] , "b":"}" }"#, Kind::Object),
        (r#"["]",{"[":"\\"}]"#, r#"["]",{"[":"\\"}]"#, Kind::Array),
    ];
    let mut json = Json::new();
    for (text, raw, kind) in table {
        let value = json.parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!((value.raw(), value.kind()), (raw.as_bytes(), kind), "{text:?}");
    }
}

#[test]
fn wrong_texts_are_refused() {
    let table: &[&[u8]] = &[
        b"",
        b"  ",
        b"\xEF\xBB\xBF{}",
        b"{\0}",
        b"{}\0",
        b"\0{}",
        b"0\0",
        b"[0\0]",
        b"true\0",
        b"{} {}",
        b"{}x",
        b"1 2",
        b"\"a\"\"b\"",
        b"{\"a\":1,}",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{'a':1}",
        b"{a:1}",
        b"{\"a\" 1}",
        b"{\"a\":}",
        b"{\"a\":1]",
        b"[1}",
        b"[",
        b"]",
        b"{\"a\":1 /* c */}",
        b"NaN",
        b"Infinity",
        b"-",
        b"01",
        b"-01",
        b"1.",
        b".5",
        b"1e",
        b"+1",
        b"0x10",
        b"[1e400x]",
        b"[1e400 1]",
        b"{\"a\":01e400}",
        b"{1e400:1}",
        b"tru",
        b"True",
        b"\"a\nb\"",
        b"\"a\x01b\"",
        b"\"a",
        b"\"\\x\"",
        b"\"\\u12g4\"",
        b"\"\\ud800\"",
        b"\"\\ud800x\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\udc00\"",
        b"\"\\udc00\\ud800\"",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"\xc3\xa4",
        b"{\"a\":\x0c1}",
        b"{\"a\":\xc2\xa01}",
        b"\"\xc0\xaf\"",
        b"{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
    ];
    let mut json = Json::new();
    for text in table {
        assert!(json.parse(text).is_err(), "{:?}", String::from_utf8_lossy(text));
    }
    assert_eq!(parse(b" "), Err(JsonError::Empty));
    assert_eq!(parse(b"\xEF\xBB\xBF{}"), Err(JsonError::ByteOrderMark));
    assert_eq!(parse(b"{} {}"), Err(JsonError::Syntax { at: 1 }));
    assert_eq!(parse(b"\"\xff\""), Err(JsonError::Utf8));
}

#[test]
fn depth_is_bounded_at_every_size() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    assert!(parse(&nested("[", "]", DEPTH_MAX)).is_ok());
    assert_eq!(parse(&nested("[", "]", DEPTH_MAX + 1)), Err(JsonError::TooDeep));
    assert!(parse(&nested("{\"a\":", "}", DEPTH_MAX)).is_err(), "a value is missing inside");
    let mut json = Json::new();
    for bytes in [1_000, 5_000, 64 * 1024, 1024 * 1024] {
        assert_eq!(json.parse(&nested("[", "]", bytes / 2)), Err(JsonError::TooDeep), "{bytes}");
        assert_eq!(json.parse(&nested("{\"a\":", "}", bytes / 6)), Err(JsonError::TooDeep), "{bytes}");
        assert_eq!(json.parse("[".repeat(bytes).as_bytes()), Err(JsonError::TooDeep), "{bytes}");
        assert!(json.parse("]".repeat(bytes).as_bytes()).is_err(), "{bytes}");
        assert_eq!(documents("[".repeat(bytes).as_bytes()).count(), 1);
        assert_eq!(documents("]".repeat(bytes).as_bytes()).count(), bytes);
        let flat = format!("[{}1]", "1,".repeat(bytes / 2));
        assert_eq!(
            json.parse(flat.as_bytes()).map(|v| v.as_array().map(Iterator::count)),
            Ok(Some(bytes / 2 + 1))
        );
    }
}

#[test]
fn scalars_are_read_only_as_what_they_are() {
    let value = |text: &'static str| parse(text.as_bytes()).expect("valid");
    assert_eq!(value("7").as_u64(), Some(7));
    assert_eq!(value("18446744073709551615").as_u64(), Some(u64::MAX));
    for not_u64 in ["-1", "-0", "1.0", "1e3", "18446744073709551616", "\"1\"", "null", "true", "[]", "{}"] {
        assert_eq!(value(not_u64).as_u64(), None, "{not_u64}");
    }
    assert_eq!(value("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(value("-0").as_i64(), Some(0));
    assert_eq!(value("9223372036854775808").as_i64(), None);
    assert_eq!(value("\"1\"").as_i64(), None);
    for whole in ["0", "-0", "4102444800", "9007199254740993", "18446744073709551616"] {
        assert_eq!(value(whole).as_f64(), whole.parse().ok(), "{whole}");
    }
    assert_eq!(value("4102444800.5").as_f64(), Some(4_102_444_800.5));
    assert_eq!(value("4.1024448e9").as_f64(), Some(4_102_444_800.0));
    assert_eq!(value("-9223372036854775809").as_f64(), Some(-9_223_372_036_854_775_808.0));
    assert_eq!(value("1e400").as_f64(), None);
    assert_eq!(parse("9".repeat(5_000).as_bytes()).map(Value::as_f64), Ok(None));
    assert_eq!(value("\"1\"").as_f64(), None);
    assert_eq!(value("true").as_bool(), Some(true));
    assert_eq!(value("false").as_bool(), Some(false));
    assert_eq!(value("\"true\"").as_bool(), None);
    assert_eq!(value("1").as_str(), None);
    assert!(matches!(value("\"ä\"").as_str(), Some(Cow::Borrowed("ä"))));
    assert_eq!(
        value(r#""\"\\\/\b\f\n\r\t\u00e4\u0000\uD834\uDD1E!""#).as_str().as_deref(),
        Some("\"\\/\u{8}\u{c}\n\r\tä\0𝄞!")
    );
    assert!(value(r#""a\u0062""#).is_string("ab"));
    assert!(!value(r#""a\u0062""#).is_string("a"));
    assert!(!value("1").is_string("1"));
}

#[test]
fn members_are_found_by_their_unescaped_names() {
    let text = r#" { "sub" : "42" , "\u0065xp":1,"EXP":2,"n":{"sub":[1,{"sub":3}]}, "n\n" : null } "#;
    let claims = object(text);
    let [sub, exp, missing] = claims.read(["sub", "exp", "nbf"]).expect("no repeats");
    assert_eq!(sub.map(Value::raw), Some(&b"\"42\""[..]));
    assert_eq!(exp.and_then(Value::as_u64), Some(1));
    assert_eq!(missing, None);
    assert_eq!(claims.get("EXP").map(|value| value.and_then(Value::as_u64)), Ok(Some(2)));
    assert!(claims.get("n\n").is_ok_and(|value| value.is_some_and(Value::is_null)));
    assert_eq!(claims.members().count(), 5);
    assert_eq!(object("{}").members().count(), 0);
}

#[test]
fn a_repeated_name_is_an_error_only_if_it_is_read() {
    let claims = object(r#"{"a":1,"b":2,"\u0061":3,"c":{"b":1,"b":2}}"#);
    assert_eq!(claims.get("a"), Err(JsonError::RepeatedName { name: "a" }));
    assert_eq!(claims.read(["b", "a"]), Err(JsonError::RepeatedName { name: "a" }));
    assert!(claims.read(["b", "c"]).is_ok());
}

#[test]
fn documents_are_split_between_values_only() {
    let table: [(&str, &[&str]); 12] = [
        ("", &[]),
        (" \n\r\n", &[]),
        ("{}", &["{}"]),
        ("{}\n{}", &["{}", "{}"]),
        ("\n{\"a\":\n1}\n\n{\"b\":\"x\\n\"}\n", &["{\"a\":\n1}", "{\"b\":\"x\\n\"}"]),
        ("{\"a\":\"}\n{\"}{}", &["{\"a\":\"}\n{\"}", "{}"]),
        ("{\"a\":\"\\\"\\\\\"}[1]", &["{\"a\":\"\\\"\\\\\"}", "[1]"]),
        ("{\"a\":{\"b\":[{}]}} 1 null", &["{\"a\":{\"b\":[{}]}}", "1", "null"]),
        ("{\"a\":1", &["{\"a\":1"]),
        ("\"abc", &["\"abc"]),
        ("\"abc\\", &["\"abc\\"]),
        ("}{,", &["}", "{,"]),
    ];
    for (frame, want) in table {
        let got: Vec<_> =
            documents(frame.as_bytes()).map(|text| std::str::from_utf8(text).unwrap()).collect();
        assert_eq!(got, want, "{frame:?}");
    }
}

#[test]
fn written_json_is_what_was_meant() {
    let mut out = Vec::new();
    append_string("a\"\\/\n\r\t\u{8}\0\u{1f}\u{7f}ä𝄞", &mut out);
    assert_eq!(out, "\"a\\\"\\\\/\\n\\r\\t\\u0008\\u0000\\u001f\u{7f}ä𝄞\"".as_bytes());
    for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
        out.clear();
        append_u64(number, &mut out);
        assert_eq!(out, number.to_string().into_bytes());
    }
    assert!(matches!(without_raw_newlines(b"{\"a\": \"\\n\"}"), Cow::Borrowed(_)));
    assert_eq!(*without_raw_newlines(b"{\r\n\t\"a\":\n\"\\n\"}"), *b"{  \t\"a\": \"\\n\"}");
}

#[test]
fn bytes_of_unknown_kind_become_json_if_they_can() {
    let table: [(&[u8], Option<&[u8]>); 6] = [
        (b" {\"a\":\n1} ", Some(b"{\"a\": 1}")),
        (b"\"x\"", Some(b"\"x\"")),
        (b"12", Some(b"12")),
        (b"hello \"you\"", Some(b"\"hello \\\"you\\\"\"")),
        (b"", Some(b"\"\"")),
        (b"\xff\xfe", None),
    ];
    for (bytes, want) in table {
        assert_eq!(Json::new().text_of(bytes).as_deref(), want, "{bytes:?}");
    }
}

#[test]
fn scratch_space_of_a_large_text_is_given_back() {
    let mut json = Json::new();
    assert!(json.parse(format!("[{}1]", "1,".repeat(KEPT_TEXT_BYTES_MAX)).as_bytes()).is_ok());
    assert_eq!((json.scratch.capacity(), json.tape.0.capacity()), (0, 0));
    assert!(json.parse(b"[1,2,3]").is_ok());
    let warm = (json.scratch.as_ptr(), json.tape.0.as_ptr());
    assert!(json.parse(b"[4,5,6]").is_ok());
    assert_eq!((json.scratch.as_ptr(), json.tape.0.as_ptr()), warm);
}

/// Text that is often JSON and more often nearly so.
fn near_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        6 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"\"", "1", "0", "-1", "1.5", "1e9", "true", "false", "null",
        ]),
        1 => prop::sample::select(vec![
            " ", "\n", "\t", "\r", "\0", "\u{1}", "\u{b}", "\u{c}", "\u{1a}", "\u{a0}", "\u{feff}", "\"", "\\",
            "01", "1e400", "-", ".", "e", "x", "ä", "\"\\n\"", "\"\\u0041\"", "\"\n\"", "\"\\", "\\\"",
            "99999999999999999999", "/", "'", "+", "\"{\"", "\"]\"",
        ]),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// Valid JSON with white space in odd places.
fn any_json() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", " ", "\n", "\t\r\n", "                 "]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|number| format!("{number:e}")),
        ".{0,40}".prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let spaced = (space.clone(), inner).prop_map(|(space, value)| format!("{space}{value}{space}"));
        prop_oneof![
            prop::collection::vec(spaced.clone(), 0..6).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((".{0,9}", spaced), 0..6).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(n, v)| format!("{}:{v}", serde_json::to_string(n).expect("n")))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_same_texts_are_json_as_elsewhere(text in near_json()) {
        let elsewhere = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(parse(text.as_bytes()).is_ok(), elsewhere, "{:?}", text);
    }

    #[test]
    fn splitting_joined_documents_gives_them_back(texts in prop::collection::vec(any_json(), 0..6)) {
        let frame = texts.iter().map(|text| format!("[{text}]")).collect::<Vec<_>>();
        let joined = frame.join("\n");
        let got: Vec<_> = documents(joined.as_bytes()).map(|text| std::str::from_utf8(text).unwrap()).collect();
        prop_assert_eq!(got, frame);
    }

    #[test]
    fn walking_finds_what_another_parser_finds(text in any_json()) {
        let want: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert!(same(parse(text.as_bytes()).unwrap(), &want), "{}", text);
    }

    #[test]
    fn walking_anything_ends(text in any::<Vec<u8>>()) {
        let walked = documents(&text).map(<[u8]>::len).sum::<usize>();
        prop_assert!(walked <= text.len());
        let value = Value { raw: &text };
        prop_assert!(value.as_array().is_none_or(|elements| elements.count() <= text.len()));
        prop_assert!(value.as_object().is_none_or(|object| object.members().count() <= text.len()));
        let _ = (value.as_str(), value.as_f64(), value.as_i64(), value.as_bool());
        let mut scratch = text.clone();
        scan::zero_numbers(&mut scratch);
        let _ = scan::unescape(&text);
    }

    #[test]
    fn strings_round_trip(text in ".*") {
        let mut out = Vec::new();
        append_string(&text, &mut out);
        let value = parse(&out).unwrap();
        prop_assert!(value.is_string(&text));
        let read = value.as_str();
        prop_assert_eq!(read.as_deref(), Some(text.as_str()));
    }
}

/// Repeated names: the other parser keeps the last one, so only the last is compared.
fn same(value: Value<'_>, want: &serde_json::Value) -> bool {
    match want {
        serde_json::Value::Null => value.is_null(),
        serde_json::Value::Bool(flag) => value.as_bool() == Some(*flag),
        serde_json::Value::Number(number) => {
            value.as_f64() == number.as_f64() || value.as_i64() == number.as_i64()
        }
        serde_json::Value::String(text) => value.as_str().is_some_and(|got| got == text.as_str()),
        serde_json::Value::Array(elements) => {
            let got: Vec<_> = value.as_array().into_iter().flatten().collect();
            got.len() == elements.len() && got.into_iter().zip(elements).all(|(got, want)| same(got, want))
        }
        serde_json::Value::Object(members) => members.iter().all(|(name, want)| {
            let got: Vec<_> = value.as_object().into_iter().flat_map(Object::members).collect();
            got.into_iter().rfind(|(got, _)| got.is_string(name)).is_some_and(|(_, got)| same(got, want))
        }),
    }
}
