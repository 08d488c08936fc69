//! Tests of [`super`]: the quick reader says what serde_json says, and damage is never passed over.

use proptest::prelude::*;

use super::*;
use crate::history::{Fields, Outcome, Value};

fn text(records: &[Record<'_>]) -> String {
    let lines = records
        .iter()
        .map(|record| serde_json::to_string(record).unwrap() + "\n");
    lines.collect()
}

fn op(key: &str) -> Record<'static> {
    Record::Op(Op {
        kind: "buy".into(),
        key: key.to_owned().into(),
        intended_us: 1,
        sent_us: Some(2),
        done_us: 3,
        outcome: Outcome::Ok,
        attempts: 1,
        status: Some(201),
        error: None,
        values: [("amount".into(), Value::Int(250))].into_iter().collect(),
        forbidden: None,
    })
}

fn item(element: &str) -> Record<'static> {
    Record::Item(Item {
        read: "orders".into(),
        element: element.to_owned().into(),
        fields: Fields::default(),
    })
}

fn end(items: u64, error: Option<&'static str>) -> Record<'static> {
    Record::Read(Read {
        read: "orders".into(),
        at_us: 9,
        items,
        error: error.map(Cow::Borrowed),
    })
}

#[test]
fn a_whole_history_is_read() {
    let text = text(&[op("a"), item("a"), end(1, None)]);
    let history = History::parse(&text).unwrap();
    assert_eq!(history.ops.len(), 1);
    assert_eq!(history.ops[0].values.get("amount"), Some(Value::Int(250)));
    assert_eq!(history.ops[0].values.get("missing"), None);
    let orders = &history.reads["orders"];
    assert!(orders.complete && !orders.failed && orders.problem.is_none());
    assert_eq!(orders.items[0].element, "a");
    assert_eq!(history.truncated, None);
}

#[test]
fn heartbeats_are_a_kind_of_their_own() {
    let beat =
        r#"{"heartbeat":{"group":"database","member":"db-1","number":7,"sent_us":1,"done_us":2,"outcome":"ok"}}"#;
    let text = format!("{}{beat}\n", text(&[op("a")]));
    let history = History::parse(&text).unwrap();
    assert_eq!((history.ops.len(), history.samples.len()), (1, 0));
    assert_eq!(
        history.heartbeats,
        [Heartbeat {
            group: "database".into(),
            member: "db-1".into(),
            number: 7,
            sent_us: 1,
            done_us: 2,
            outcome: Outcome::Ok,
            error: None,
        }]
    );
}

#[test]
fn a_read_is_complete_only_with_its_end_and_its_count() {
    let problem = |records: &[Record<'_>]| {
        let text = text(records);
        let history = History::parse(&text).unwrap();
        let list = &history.reads["orders"];
        assert!(!list.complete);
        (list.failed, list.problem.clone().unwrap())
    };
    assert_eq!(problem(&[item("a")]), (false, "it has no end".to_owned()));
    assert_eq!(
        problem(&[item("a"), end(2, None)]),
        (false, "it counted 2 items, 1 are recorded".to_owned())
    );
    assert_eq!(problem(&[item("a"), end(1, Some("503"))]), (true, "503".to_owned()));
    assert_eq!(
        problem(&[end(0, None), end(0, None)]),
        (false, "it was made 2 times".to_owned())
    );
}

#[test]
fn a_cut_last_line_is_noted_at_every_cut() {
    let whole = text(&[op("ä"), op("b")]);
    let second = whole.find('\n').unwrap() + 1;
    for cut in second + 1..whole.len() - 1 {
        let history = History::parse(&whole.as_bytes()[..cut]).unwrap();
        assert_eq!((history.ops.len(), history.truncated), (1, Some(2)), "cut at {cut}");
    }
    let history = History::parse(&whole.as_bytes()[..whole.len() - 1]).unwrap();
    assert_eq!(
        (history.ops.len(), history.truncated),
        (2, None),
        "only the line end is missing"
    );
}

#[test]
fn a_cut_within_a_character_is_a_cut() {
    let whole = text(&[op("a"), op("ä")]);
    let cut = whole.rfind('ä').unwrap() + 1;
    assert_eq!(History::parse(&whole.as_bytes()[..cut]).unwrap().truncated, Some(2));
}

#[test]
fn a_broken_line_is_an_error_with_its_number() {
    let good = text(&[op("a")]);
    for broken in [
        "{\"op\":{}}\n",
        "\n",
        "{}\n",
        "null\n",
        "{\"op\":{\"kind\":\"buy\"\n",
        "{\"other\":{}}\n",
    ] {
        let text = format!("{good}{good}{broken}{good}");
        let error = History::parse(&text).unwrap_err();
        assert_eq!(error.line, 3, "{broken:?}: {error}");
        assert!(!error.reason.is_empty());
    }
    let mut bytes = format!("{good}{good}x\n").into_bytes();
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    assert_eq!(History::parse(&bytes).unwrap_err().line, 3);
    bytes.splice(0..0, *b"broken earlier\n");
    assert_eq!(History::parse(&bytes).unwrap_err().line, 1);
}

#[test]
fn files_large_and_small_are_read_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for length in [0, 1, 5_000_001] {
        let bytes: Vec<u8> = (0..length).map(|number: u32| (number % 251) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(read(file.path()).unwrap() == bytes, "{length} bytes");
    }
    assert_eq!(
        read(Path::new("/no/such/file")).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

#[test]
fn an_empty_history_is_empty() {
    assert_eq!(History::parse("").unwrap(), History::default());
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-1e6..1e6f64).prop_map(|float| Value::Float((float * 8.0).round() / 8.0)),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(|text| Value::Text(text.into())),
        Just(Value::Null),
    ]
}

fn any_fields() -> impl Strategy<Value = Fields<'static>> {
    let field = ("[a-z]{1,3}|\\PC{0,3}", any_value());
    proptest::collection::vec(field, 0..4).prop_map(|fields| {
        let fields = fields.into_iter();
        fields.map(|(name, value)| (Cow::Owned(name), value)).collect()
    })
}

fn any_record() -> impl Strategy<Value = Record<'static>> {
    let outcome = prop_oneof![Just(Outcome::Ok), Just(Outcome::Fail), Just(Outcome::Info)];
    let names = ("[a-z-]{1,8}", any::<String>(), proptest::option::of(any::<String>()));
    let times = (any::<u64>(), any::<Option<u64>>(), any::<u64>());
    let op = (names, times, outcome, any::<u32>(), any::<Option<u16>>(), any_fields()).prop_map(
        |((kind, key, error), (intended_us, sent_us, done_us), outcome, attempts, status, values)| {
            Record::Op(Op {
                kind: kind.into(),
                key: key.into(),
                intended_us,
                sent_us,
                done_us,
                outcome,
                attempts,
                status,
                error: error.clone().map(Cow::Owned),
                values,
                forbidden: error.map(Cow::Owned),
            })
        },
    );
    let item = ("[a-z]{1,2}", any::<String>(), any_fields()).prop_map(|(read, element, fields)| {
        Record::Item(Item {
            read: read.into(),
            element: element.into(),
            fields,
        })
    });
    let sample = ("[a-z]{1,2}", any::<u64>(), proptest::option::of(-1e6..1e6f64)).prop_map(|(metric, at_us, value)| {
        Record::Sample(Sample {
            metric: metric.into(),
            at_us,
            value: value.map(f64::round),
        })
    });
    let heartbeat =
        ("[a-z]{1,2}", any::<u64>(), proptest::option::of(any::<String>())).prop_map(|(member, number, error)| {
            Record::Heartbeat(Heartbeat {
                group: "database".into(),
                member: member.into(),
                number,
                sent_us: number,
                done_us: number,
                outcome: if error.is_some() { Outcome::Info } else { Outcome::Ok },
                error: error.map(Cow::Owned),
            })
        });
    prop_oneof![4 => op, 3 => item, 1 => sample, 1 => heartbeat]
}

/// The slow and obvious reader.
fn by_serde(text: &str) -> History<'_> {
    let mut pieces = Pieces::default();
    text.lines()
        .for_each(|line| pieces.add(serde_json::from_str(line).unwrap()));
    pieces.finish(None)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_quick_reader_says_what_serde_says(records in proptest::collection::vec(any_record(), 0..20), pieces in 1..6usize) {
        let text = text(&records);
        let history = History::parse_in_pieces(text.as_bytes(), pieces).unwrap();
        prop_assert_eq!(history, by_serde(&text));
    }

    /// Whatever is done to a line, the quick reader accepts it only if serde does, and reads the same.
    #[test]
    fn the_quick_reader_accepts_nothing_else(record in any_record(), at in any::<proptest::sample::Index>(), with in "[0-9\"\\\\{}:,. eE+-]{0,2}") {
        let mut line = serde_json::to_string(&record).unwrap();
        let mut at = at.index(line.len());
        while !line.is_char_boundary(at) { at -= 1; }
        let end = at + line[at..].chars().next().map_or(0, char::len_utf8);
        line.replace_range(at..end, &with);
        line.push('\n');
        let parsed = History::parse(&line);
        match serde_json::from_str::<Record<'_>>(&line) {
            Ok(_) => prop_assert_eq!(parsed.unwrap(), by_serde(&line)),
            Err(_) => prop_assert!(parsed.is_err(), "{line}"),
        }
    }
}
