//! Selection against a naive model, on typed data and on JSON; the text and wire forms; what
//! malformed and hostile encodings get.

use {
    mosaik_primitives::{Digest, Limits, codec},
    mosaik_protocol::subscription::{Criteria, CriteriaError, Field, Literal, MAX_DEPTH},
    proptest::prelude::*,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    std::{cmp::Ordering, collections::BTreeMap, fmt::Write},
};

// --- the model ---------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Model {
    Compare(Vec<String>, Comparison, Value),
    In(Vec<String>, Vec<Value>),
    Has(Vec<String>, Value),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

fn literal(value: &Value) -> Literal {
    match value {
        Value::Null => Literal::NULL,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| number.as_f64().unwrap().into(), Literal::from),
        Value::String(text) => text.as_str().into(),
        Value::Array(_) | Value::Object(_) => unreachable!("not a scalar"),
    }
}

impl Model {
    fn criteria(&self) -> Criteria {
        let field = |path: &[String]| path.iter().fold(Criteria::field(""), Field::child);
        match self {
            Self::Compare(path, comparison, value) => {
                let (field, value) = (field(path), literal(value));
                match comparison {
                    Comparison::Eq => field.eq(value),
                    Comparison::Ne => field.ne(value),
                    Comparison::Lt => field.lt(value),
                    Comparison::Le => field.le(value),
                    Comparison::Gt => field.gt(value),
                    Comparison::Ge => field.ge(value),
                }
            }
            Self::In(path, set) => field(path).is_in(set.iter().map(literal)),
            Self::Has(path, value) => field(path).has(literal(value)),
            Self::Not(inner) => !inner.criteria(),
            Self::And(a, b) => a.criteria() & b.criteria(),
            Self::Or(a, b) => a.criteria() | b.criteria(),
        }
    }

    fn matches(&self, datum: &Value) -> bool {
        let at = |path: &[String]| {
            path.iter().try_fold(datum, |value, name| match value {
                Value::Object(fields) => fields.get(name),
                Value::Array(items) => items.get(name.parse::<usize>().ok()?),
                _ => None,
            })
        };
        let equal = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b) == Some(Ordering::Equal),
            _ => a == b,
        };
        match self {
            Self::Compare(path, comparison, wanted) => {
                let value = at(path).unwrap_or(&Value::Null);
                let order = match (value, wanted) {
                    (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
                    (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
                    (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
                    (Value::Null, Value::Null) => Some(Ordering::Equal),
                    _ => None,
                };
                match comparison {
                    Comparison::Eq => equal(value, wanted),
                    Comparison::Ne => !equal(value, wanted),
                    Comparison::Lt => order.is_some_and(Ordering::is_lt),
                    Comparison::Le => order.is_some_and(Ordering::is_le),
                    Comparison::Gt => order.is_some_and(Ordering::is_gt),
                    Comparison::Ge => order.is_some_and(Ordering::is_ge),
                }
            }
            Self::In(path, set) => {
                let value = at(path).unwrap_or(&Value::Null);
                set.iter().any(|member| equal(value, member))
            }
            Self::Has(path, wanted) => match at(path) {
                Some(Value::Array(items)) => items.iter().any(|item| equal(item, wanted)),
                _ => false,
            },
            Self::Not(inner) => !inner.matches(datum),
            Self::And(a, b) => a.matches(datum) && b.matches(datum),
            Self::Or(a, b) => a.matches(datum) || b.matches(datum),
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a"),
        Just("b"),
        Just("a.b"),
        Just("0"),
        Just("1"),
        Just("in"),
        Just("")
    ]
    .prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        (-2i64..3).prop_map(|halves| json!(halves as f64 / 2.0)),
        prop_oneof![Just(""), Just("a"), Just("b\n"), Just("é\"'`\\")].prop_map(Value::from),
    ]
}

fn datum() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn model() -> impl Strategy<Value = Model> {
    let path = || proptest::collection::vec(name(), 0..3);
    let comparison = prop_oneof![
        Just(Comparison::Eq),
        Just(Comparison::Ne),
        Just(Comparison::Lt),
        Just(Comparison::Le),
        Just(Comparison::Gt),
        Just(Comparison::Ge),
    ];
    let leaf = prop_oneof![
        3 => (path(), comparison, scalar()).prop_map(|(p, c, v)| Model::Compare(p, c, v)),
        1 => (path(), proptest::collection::vec(scalar(), 0..5)).prop_map(|(p, s)| Model::In(p, s)),
        1 => (path(), scalar()).prop_map(|(p, v)| Model::Has(p, v)),
    ];
    leaf.prop_recursive(6, 48, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Model::Not(a.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Model::And(a.into(), b.into())),
            (inner.clone(), inner).prop_map(|(a, b)| Model::Or(a.into(), b.into())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn selects_what_the_model_selects(model in model(), datum in datum()) {
        let criteria = model.criteria();
        prop_assert_eq!(criteria.matches_value(&datum), model.matches(&datum), "{}", criteria);
    }

    #[test]
    fn text_and_wire_forms_are_lossless(
        model in model(), keep in 0u32..4, more in 1u32..4, last in 0u64..3,
    ) {
        let criteria = model.criteria().sample(keep, keep + more).last(last);
        let text = criteria.to_string();
        prop_assert_eq!(&text.parse::<Criteria>().unwrap(), &criteria, "{}", text);
        let wire = criteria.to_wire();
        prop_assert_eq!(&Criteria::from_wire(&wire, &Limits::DEFAULT).unwrap(), &criteria);
        let carried = codec::try_serialize(&(1u8, criteria.clone())).unwrap();
        prop_assert_eq!(codec::deserialize::<(u8, Criteria)>(&carried).unwrap().1, criteria.clone());
        let shown = serde_json::to_string(&criteria).unwrap();
        prop_assert_eq!(serde_json::from_str::<Criteria>(&shown).unwrap(), criteria);
    }

    #[test]
    fn arbitrary_bytes_and_text_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..128),
        text in r#"([ab.()!=<>x"'`0-9éu{}\\\[\],/+-]|and |or |not |in |has |last |sample ){0,40}"#,
        datum in datum(),
    ) {
        let versioned = [&[1, 0], bytes.as_slice()].concat();
        let parsed = text.parse::<Criteria>().map_err(|error| {
            assert!(text.is_char_boundary(error.position()));
            format!("{error:#}")
        });
        let received = [
            Criteria::from_wire(&bytes, &Limits::DEFAULT).ok(),
            Criteria::from_wire(&versioned, &Limits::DEFAULT).ok(),
            parsed.ok(),
        ];
        for criteria in received.into_iter().flatten() {
            criteria.matches_value(&datum);
            prop_assert!(!criteria.to_string().contains('\0'));
        }
    }

    #[test]
    fn damaged_encodings_are_refused_or_sound(
        model in model(), at in any::<prop::sample::Index>(), with in any::<u8>(), datum in datum(),
    ) {
        let mut wire = model.criteria().to_wire().to_vec();
        let at = at.index(wire.len());
        wire[at] = with;
        if let Ok(criteria) = Criteria::from_wire(&wire, &Limits::DEFAULT) {
            criteria.matches_value(&datum);
            prop_assert_eq!(criteria.check(&Limits::DEFAULT), Ok(()));
            // Whatever was accepted can be written and read again.
            let text = criteria.to_string();
            prop_assert!(text.parse::<Criteria>().is_ok(), "{}", text);
        }
    }
}

// --- typed data --------------------------------------------------------------------------------

#[derive(Clone, Serialize, Deserialize)]
struct Reading {
    id: u128,
    celsius: f32,
    site: String,
    note: Option<String>,
    quality: Quality,
    tags: Vec<String>,
    by_port: BTreeMap<u16, Place>,
    raw: bytes::Bytes,
    origin: Digest,
    window: (i8, u64),
    letter: char,
    wrapped: Wrapped,
}

#[derive(Clone, Serialize, Deserialize)]
struct Wrapped(u8);

#[derive(Clone, Serialize, Deserialize)]
enum Quality {
    Good,
    Estimated { error: f64 },
    Interpolated(u8, u8),
    Copied(Place),
}

#[derive(Clone, Serialize, Deserialize)]
struct Place {
    up: Option<bool>,
}

fn reading(quality: Quality) -> Reading {
    Reading {
        id: u128::MAX,
        celsius: 3.1,
        site: "oslo".into(),
        note: None,
        quality,
        tags: vec!["roof".into(), "north".into()],
        by_port: [(80, Place { up: Some(true) }), (443, Place { up: None })].into(),
        raw: bytes::Bytes::from_static(&[0, 255]),
        origin: Digest::from("origin"),
        window: (-1, u64::MAX),
        letter: 'q',
        wrapped: Wrapped(9),
    }
}

fn check(datum: &Reading, text: &str, expected: bool) {
    match text.parse::<Criteria>() {
        Ok(criteria) => assert_eq!(criteria.matches(datum), expected, "{text}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn every_kind_of_field_can_be_selected_on() {
    let datum = reading(Quality::Good);
    for text in [
        "id == 340282366920938463463374607431768211455",
        "celsius == 3.1 and celsius > 3 and celsius < 4",
        "site == 'oslo' and site < 'rome'",
        "note == null and absent == null and note != 'x' and absent != 3",
        "quality == 'Good' and quality in ['Bad', 'Good']",
        "tags has 'north' and tags.0 == 'roof' and tags != null",
        "by_port.80.up and by_port.443.up == null and by_port.8080 == null",
        "raw == x\"00ff\"",
        "window.0 < 0 and window.1 == 18446744073709551615",
        "letter == 'q' and wrapped == 9 and wrapped == 9.0",
    ] {
        check(&datum, text, true);
    }
    for text in [
        "id < 340282366920938463463374607431768211455",
        "celsius > 3.1 or celsius == '3.1' or celsius == true",
        "note < 'x' or note > 'x' or absent >= 0 or absent in [0]",
        "tags has 'south' or tags == 'roof' or tags in ['roof'] or site has 'oslo'",
        "site.oslo == 'oslo' or tags.roof == 'roof' or tags.2 == 'x'",
        "quality.Good",
    ] {
        check(&datum, text, false);
    }
    assert!(Criteria::field("origin").eq(datum.origin).matches(&datum));
}

#[test]
fn enums_read_as_their_variant_and_open_into_it() {
    let estimated = reading(Quality::Estimated { error: 0.5 });
    check(
        &estimated,
        "quality == 'Estimated' and quality.Estimated.error <= 0.5",
        true,
    );
    check(
        &estimated,
        "quality.Interpolated.0 == 3 or quality == 'Good'",
        false,
    );
    let interpolated = reading(Quality::Interpolated(3, 4));
    check(
        &interpolated,
        "quality == 'Interpolated' and quality.Interpolated.1 == 4",
        true,
    );
    let copied = reading(Quality::Copied(Place { up: Some(false) }));
    check(
        &copied,
        "quality == 'Copied' and not quality.Copied.up and quality != null",
        true,
    );
}

#[test]
fn the_datum_itself_can_be_compared() {
    assert!(Criteria::field("").gt(2).matches(&3u8));
    assert!(!Criteria::field("").gt(3).matches(&3u8));
    assert!(
        Criteria::field("")
            .has("b")
            .matches(&vec!["a".to_owned(), "b".to_owned()])
    );
    assert!(Criteria::default().matches(&()));
}

// --- size and form -----------------------------------------------------------------------------

#[test]
fn large_selections_stay_shallow_and_within_the_limit() {
    // More tests than are held without an allocation, nested to the right.
    let wide = |tests: i32| {
        (0..tests).fold(Criteria::field("n").eq(-1), |all, n| {
            Criteria::field("n").eq(n) | all
        })
    };
    let criteria = wide(400);
    assert_eq!(criteria.check(&Limits::DEFAULT), Ok(()));
    assert!(criteria.matches_value(&json!({"n": 399})));
    assert!(!criteria.matches_value(&json!({"n": 400})));
    let over = wide(600);
    let error = CriteriaError::TooManyNodes {
        nodes: 1201,
        max: 1024,
    };
    assert_eq!(over.check(&Limits::DEFAULT), Err(error.clone()));
    assert_eq!(
        Criteria::from_wire(&over.to_wire(), &Limits::DEFAULT),
        Err(error)
    );
    let members = Criteria::field("n").is_in(0..2000);
    assert!(members.matches_value(&json!({"n": 1999})));
    assert!(matches!(
        members.check(&Limits::DEFAULT),
        Err(CriteriaError::TooManyNodes { nodes: 2001, .. })
    ));
}

#[test]
fn selections_that_cannot_be_met_are_refused() {
    let path = vec!["a"; 33].join(".");
    let long = Criteria::field(&path).eq(1);
    assert_eq!(
        long.check(&Limits::DEFAULT),
        Err(CriteriaError::PathTooLong {
            segments: 33,
            max: 32
        })
    );
    let sampling = Criteria::default().sample(3, 2);
    assert_eq!(
        sampling.check(&Limits::DEFAULT),
        Err(CriteriaError::Sampling { keep: 3, of: 2 })
    );
}

/// The encoding in parts: tests, program, sampling, history.
fn wire(tests: &[u8], program: &[u8]) -> Vec<u8> {
    [&[1, 0], tests, program, &[1, 1, 0]].concat()
}

#[test]
fn malformed_programs_are_refused() {
    const TEST: &[u8] = &[1, 1, 1, b'a', 0, 1, 1]; // one test: a == true
    let refused = |bytes: &[u8]| Criteria::from_wire(bytes, &Limits::DEFAULT).unwrap_err();
    let (and, not, always) = (1, 3, 4);
    assert_eq!(
        Criteria::from_wire(&wire(TEST, &[1, 0, 0]), &Limits::DEFAULT).unwrap(),
        Criteria::field("a").eq(true)
    );
    for (tests, program, problem) in [
        (TEST, &[1, 0, 1][..], "a test is missing"),
        (TEST, &[1, always], "a test is not used"),
        (TEST, &[0], "a test is not used"),
        (&[0], &[1, not], "an operator lacks an operand"),
        (TEST, &[2, 0, 0, and], "an operator lacks an operand"),
        (TEST, &[2, 0, 0, always], "an operand has no operator"),
        (
            &[2, 1, 1, b'b', 0, 0, 1, 1, b'a', 0, 0],
            &[3, 0, 0, 0, 1, and],
            "tests are not in order",
        ),
        // a in [2, 1]
        (
            &[1, 1, 1, b'a', 6, 2, 2, 4, 2, 2],
            &[1, 0, 0],
            "a set or number is not in normal form",
        ),
        // a == 1, as a number above i128::MAX
        (
            &[1, 1, 1, b'a', 0, 3, 1],
            &[1, 0, 0],
            "a set or number is not in normal form",
        ),
    ] {
        assert_eq!(
            refused(&wire(tests, program)),
            CriteriaError::Malformed(problem)
        );
    }
    let mut deep = vec![65];
    deep.extend([always; MAX_DEPTH + 1]);
    assert_eq!(refused(&wire(&[0], &deep)), CriteriaError::TooDeep);
    assert!(matches!(refused(&[2, 0, 0]), CriteriaError::Encoding(_)));
    assert!(matches!(
        refused(&vec![0; 70_000]),
        CriteriaError::Encoding(_)
    ));
}

/// The wire format, pinned. A change here is a new version.
#[test]
fn the_wire_format_is_version_one() {
    let text = r#"a.b > 1.5 and not c in [null, 3, "x"] or tags has x"00ff" or d != -7 sample 1/10 last 5"#;
    let criteria: Criteria = text.parse().unwrap();
    let mut hex = String::new();
    for byte in criteria.to_wire() {
        write!(hex, "{byte:02x}").unwrap();
    }
    assert_eq!(hex, include_str!("fixtures/criteria-v1.hex").trim());
}
