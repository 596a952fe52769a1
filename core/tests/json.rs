//! Canonical JSON: the published examples of RFC 8785, what differs from it, and what is refused.

use peerloom_core::json::{DEPTH_MAX, JsonError, parse, to_canonical};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// The canonical form of a text.
fn canonical(text: &str) -> String {
    written(&parse(text.as_bytes()).expect("well-formed"))
}

fn written(value: &Value) -> String {
    String::from_utf8(to_canonical(value).expect("can be written").to_vec()).expect("JSON is UTF-8")
}

fn refused(text: &str) -> JsonError {
    parse(text.as_bytes()).expect_err(text)
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// Arrays, french, structures, unicode, values and weird, from the test data that RFC 8785 refers to:
/// <https://github.com/cyberphone/json-canonicalization/tree/master/testdata>.
#[test]
fn the_published_examples_come_out_as_published() {
    let cases = [
        (r#"[ 56, { "d": true, "10": null, "1": [ ] } ]"#, r#"[56,{"1":[],"10":null,"d":true}]"#),
        (
            r#"{ "peach": "This sorting order", "péché": "is wrong according to French",
                 "pêche": "but canonicalization MUST", "sin":   "ignore locale" }"#,
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
        ),
        (
            r#"{ "1": {"f": {"f": "hi","F": 5} ,"\n": 56.0}, "10": { }, "": "empty", "a": { },
                 "111": [ {"e": "yes","E": "no" } ], "A": { } }"#,
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        (r#"{ "Unnormalized Unicode":"A\u030a" }"#, "{\"Unnormalized Unicode\":\"A\u{30a}\"}"),
        (
            r#"{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                 "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        (
            r#"{ "\u20ac": "Euro Sign", "\r": "Carriage Return", "\u000a": "Newline", "1": "One",
                 "\u0080": "Control\u007f", "\ud83d\ude02": "Smiley",
                 "\u00f6": "Latin Small Letter O With Diaeresis",
                 "\ufb33": "Hebrew Letter Dalet With Dagesh", "</script>": "Browser Challenge" }"#,
            "{\"\\n\":\"Newline\",\"\\r\":\"Carriage Return\",\"1\":\"One\",\"</script>\":\"Browser Challenge\",\
             \"\u{80}\":\"Control\u{7f}\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😂\":\"Smiley\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
    ];
    for (text, form) in cases {
        assert_eq!(canonical(text), form);
        assert_eq!(canonical(form), form);
    }
}

/// RFC 8785, appendix B.
#[test]
fn floats_are_written_as_ecmascript_prints_them() {
    let cases = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ];
    for (bits, form) in cases {
        assert_eq!(written(&json!(f64::from_bits(bits))), form);
        assert_eq!(canonical(form), form);
    }
}

#[test]
fn integers_of_64_bits_are_exact() {
    for integer in
        ["-9223372036854775808", "18446744073709551615", "9007199254740993", "-9007199254740993", "0"]
    {
        assert_eq!(canonical(integer), integer);
    }
    assert_eq!(parse(b"-9223372036854775808"), Ok(json!(i64::MIN)));
    assert_eq!(parse(b"18446744073709551615"), Ok(json!(u64::MAX)));
}

#[test]
fn a_number_has_one_form_however_it_is_written() {
    for one in ["1", "1.0", "1e0", "10E-1", "0.1e+1"] {
        assert_eq!(canonical(one), "1");
    }
    for zero in ["0", "-0", "0.0", "-0.0", "0e5", "1e-400"] {
        assert_eq!(canonical(zero), "0");
    }
}

#[test]
fn an_integer_beyond_64_bits_is_read_only_if_no_digit_is_lost() {
    assert_eq!(parse(b"100000000000000000000"), Ok(json!(1e20)));
    assert_eq!(parse(b"-295147905179352830000"), Ok(json!(-295_147_905_179_352_830_000.0)));
    let out_of_range = ["18446744073709551616", "-9223372036854775809", "1000000000000000000000"];
    for literal in out_of_range {
        assert_eq!(refused(literal), JsonError::IntegerOutOfRange { literal: literal.into() });
    }
}

#[test]
fn an_error_repeats_little_of_a_long_input() {
    let digits = "9".repeat(100_000);
    for text in [digits.clone(), format!("{digits}.5"), format!("{{\"{digits}\":1,\"{digits}\":2}}")] {
        let message = refused(&text).to_string();
        assert!(message.contains("9999…"), "{message}");
        assert!(message.len() < 250, "{message}");
    }
}

#[test]
fn a_float_that_overflows_is_refused() {
    for literal in ["1e309", "-1e309", "1.0e999999999999999999999"] {
        assert_eq!(refused(literal), JsonError::NumberTooLarge { literal: literal.into() });
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for text in [r#"{"a":1,"b":2,"a":1}"#, r#"[{"a":{"a":1},"\u0061":2}]"#] {
        assert_eq!(refused(text), JsonError::DuplicateKey { key: "a".into() });
    }
    assert_eq!(canonical(r#"[{"a":{"a":1}},{"a":1}]"#), r#"[{"a":{"a":1}},{"a":1}]"#);
}

#[test]
fn keys_are_sorted_by_utf_16_and_not_by_utf_8() {
    assert_eq!(
        canonical("{\"\u{ffff}\":1,\"\u{10000}\":2,\"\u{e000}\":3}"),
        "{\"\u{10000}\":2,\"\u{e000}\":3,\"\u{ffff}\":1}"
    );
}

#[test]
fn nesting_ends_where_serde_json_ends() {
    let deepest = nested(DEPTH_MAX);
    assert_eq!(canonical(&deepest), deepest);
    assert!(serde_json::from_str::<Value>(&deepest).is_ok());
    assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX + 1)).is_err());
    for depth in [DEPTH_MAX + 1, 1_000_000] {
        assert_eq!(refused(&nested(depth)), JsonError::TooDeep);
    }
}

#[test]
fn a_value_that_nests_too_deep_is_not_written() {
    let deep = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert!(to_canonical(&deep(DEPTH_MAX)).is_ok());
    assert_eq!(to_canonical(&deep(DEPTH_MAX + 1)), Err(JsonError::TooDeep));
    assert_eq!(to_canonical(&deep(10_000)), Err(JsonError::TooDeep));
}

#[test]
fn whatever_is_not_json_is_refused_with_its_place() {
    let cases = [
        ("", 0),
        (" ", 1),
        ("nul", 0),
        ("nulls", 4),
        ("1 2", 2),
        ("01", 1),
        ("-", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1e", 2),
        ("1e+", 3),
        ("NaN", 0),
        ("[1,]", 3),
        ("[1 2]", 3),
        ("[", 1),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("{\"a\" 1}", 5),
        ("{\"a\":}", 5),
        ("{\"a\":1", 6),
        ("\"a", 2),
        ("\"a\\", 3),
        ("\"a\\\"", 4),
        ("\u{feff}1", 0),
        ("\u{a0}1", 0),
    ];
    for (text, place) in cases {
        assert!(matches!(refused(text), JsonError::Syntax { position, .. } if position == place), "{text:?}");
    }
}

#[test]
fn a_malformed_string_is_refused() {
    for string in ["\"\n\"", "\"\\x\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\u12\""] {
        assert!(matches!(refused(string), JsonError::MalformedString { position: 0, .. }), "{string:?}");
    }
    assert_eq!(parse(b"\"a\xff\""), Err(JsonError::NotUtf8 { position: 2 }));
}

/// Any value, with floats by their bits so that every magnitude comes up.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u64>()
            .prop_map(|bits| Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)),
        (-1e22..1e22).prop_map(|float: f64| Value::from(float.trunc())),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// JSON as someone else may write it: spaced, and escaped wherever that is allowed.
fn spelled_out(value: &Value) -> String {
    let string = |text: &str| -> String {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(spelled_out).collect();
            format!("[ {} ]", items.join(" ,\n"))
        }
        Value::Object(entries) => {
            let entries = entries.iter().rev();
            let entries: Vec<_> =
                entries.map(|(k, v)| format!("{} :\t{}", string(k), spelled_out(v))).collect();
            format!("{{ {} }}", entries.join("\r\n,"))
        }
        plain => plain.to_string(),
    }
}

proptest! {
    #[test]
    fn the_canonical_form_is_read_back_to_itself(value in values()) {
        let form = written(&value);
        prop_assert_eq!(canonical(&form), form);
    }

    #[test]
    fn equal_values_have_equal_bytes_whoever_spelled_them(value in values()) {
        let text = spelled_out(&value);
        prop_assert_eq!(canonical(&text), written(&value));
    }

    #[test]
    fn the_order_of_insertion_does_not_show(keys in prop::collection::btree_set(any::<String>(), 0..8), seed: usize) {
        let mut keys: Vec<_> = keys.into_iter().collect();
        let object = |keys: &[String]| -> Map<String, Value> {
            keys.iter().map(|key| (key.clone(), json!(key.len()))).collect()
        };
        let form = written(&Value::Object(object(&keys)));
        let places = seed % keys.len().max(1);
        keys.rotate_left(places);
        prop_assert_eq!(written(&Value::Object(object(&keys))), form);
    }

    #[test]
    fn a_float_keeps_every_bit(float in any::<f64>().prop_filter("finite", |float| float.is_finite())) {
        let read = parse(written(&json!(float)).as_bytes()).expect("canonical").as_f64();
        prop_assert_eq!(read, Some(float));
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_accepts_apart_from_the_rules_above(text in "[\\[\\]{}\",:0-9eE+.\\\\u \\-]{0,12}") {
        match (parse(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(written(&ours), written(&theirs)),
            (Err(JsonError::DuplicateKey { .. } | JsonError::IntegerOutOfRange { .. }), Ok(_)) => {}
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = parse(&bytes) {
            prop_assert!(to_canonical(&value).is_ok());
        }
    }
}
