//! The Values rules on the JSON road, one by one.

use proptest::prelude::*;

use super::*;
use crate::bundle::stage::StageInput;
use crate::error::Error;
use crate::signature::Signature;
use crate::values::{TensorBuffer, plan::Plan};

/// A plan whose columns each have a graph input of their own, but for the packed `x` and `y`.
fn plan(unknown: UnknownColumns) -> Plan {
    let column = |name: &str, kind: &str, nullable: bool| {
        format!(r#"{{"name":"{name}","type":"{kind}","nullable":{nullable}}}"#)
    };
    let columns = [
        column("x", "float64", false),
        column("y", "float64", true),
        column("i", "int8", false),
        column("j", "int64", true),
        column("s", "string", true),
        column("b", "bool", false),
        column("d", "date32", true),
        r#"{"name":"w","type":"timestamp","zone":"UTC"}"#.to_owned(),
        r#"{"name":"m","type":"tensor","dtype":"float32","shape":[2,2]}"#.to_owned(),
    ];
    let text = format!(r#"{{"inputs":[{}],"outputs":[{{"name":"p","type":"float64"}}]}}"#, columns.join(","));
    let signature = Signature::from_json(&text).unwrap();
    let input = |name: &str, kind: &str, columns: &[&str], valid: Option<&str>| -> StageInput {
        let mut value = serde_json::json!({"name": name, "type": kind, "columns": columns});
        if let Some(valid) = valid {
            value = serde_json::json!({"name": name, "type": kind, "valid": valid});
        }
        serde_json::from_value(value).unwrap()
    };
    let inputs = [
        input("numbers", "float64", &["x", "y", "j"], None),
        input("i", "int8", &["i"], None),
        input("s", "string", &["s"], None),
        input("s__valid", "bool", &[], Some("s")),
        input("b", "bool", &["b"], None),
        input("d", "int64", &["d"], None),
        input("d__valid", "bool", &[], Some("d")),
        input("w", "int64", &["w"], None),
        input("m", "float32", &["m"], None),
    ];
    Plan::new(&signature.inputs, &inputs, unknown).unwrap()
}

const ROW: &str = r#"{"x":1.5,"y":null,"i":-3,"j":7,"s":"ü\n\u00e9","b":true,"d":"2000-02-29","w":"1970-01-01T01:00:00+01:00","m":[[1,2],[3,4.5]]}"#;

/// The row with one column's value replaced.
fn with(column: &str, value: &str) -> String {
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(ROW).unwrap();
    row.insert(column.to_owned(), serde_json::Value::from("@@"));
    serde_json::to_string(&row).unwrap().replace("\"@@\"", value)
}

fn read(body: &str) -> Result<(RowBuffer, usize, Form)> {
    let plan = plan(UnknownColumns::Refuse);
    let mut buffer = plan.buffer();
    let (rows, form) = JsonReader::default().read(body.as_bytes(), &plan, &mut buffer, 100)?;
    Ok((buffer, rows, form))
}

fn refused(body: &str) -> Error {
    let plan = plan(UnknownColumns::Refuse);
    let mut buffer = plan.buffer();
    let mut reader = JsonReader::default();
    reader.read(ROW.as_bytes(), &plan, &mut buffer, 100).unwrap();
    let before = buffer.clone();
    let error = reader.read(body.as_bytes(), &plan, &mut buffer, 100).expect_err(body);
    assert_eq!(format!("{buffer:?}"), format!("{before:?}"), "a refused request leaves the buffer as it was");
    error
}

#[test]
fn a_record_lands_in_the_graphs_inputs() {
    let (buffer, rows, form) = read(ROW).unwrap();
    assert_eq!((rows, form), (1, Form::Rows));
    let tensor = |i: usize| buffer.tensor(i).unwrap().0;
    let TensorBuffer::F64(numbers) = tensor(0) else { panic!() };
    assert_eq!((numbers[0], numbers[1].is_nan(), numbers[2]), (1.5, true, 7.0));
    assert_eq!(*tensor(1), TensorBuffer::I8(vec![-3]));
    let TensorBuffer::Text(texts) = tensor(2) else { panic!() };
    assert_eq!(texts.get(0), "ü\né");
    assert_eq!(*tensor(3), TensorBuffer::Bool(vec![true]));
    assert_eq!(*tensor(5), TensorBuffer::I64(vec![11_016]));
    assert_eq!(*tensor(7), TensorBuffer::I64(vec![0]));
    assert_eq!(*tensor(8), TensorBuffer::F32(vec![1.0, 2.0, 3.0, 4.5]));
}

#[test]
fn rows_columns_and_wrappers_say_the_same() {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(ROW).unwrap();
    let mut columns = serde_json::Map::new();
    for (name, value) in row.iter().rev() {
        columns.insert(name.clone(), serde_json::json!([value, value]));
    }
    let columns = serde_json::json!({"columns": columns}).to_string();
    let rows = format!(" [{ROW} , {ROW}] ");
    let wrapped = format!(r#"{{"rows":[{ROW},{ROW}]}}"#);
    let expected = read(&rows).unwrap();
    assert_eq!(expected.1, 2);
    let same = |a: &RowBuffer, b: &RowBuffer| format!("{a:?}") == format!("{b:?}");
    let (buffer, count, form) = read(&columns).unwrap();
    assert_eq!((count, form), (2, Form::Columns));
    assert!(same(&buffer, &expected.0));
    assert!(same(&read(&wrapped).unwrap().0, &expected.0));
    for empty in ["[]", r#"{"rows":[]}"#] {
        assert_eq!(read(empty).unwrap().1, 0);
    }
}

#[test]
fn numbers_widen_only_where_nothing_is_lost() {
    for (column, value) in [
        ("x", "9007199254740992"),
        ("x", "-0"),
        ("x", "1152921504606846976"),
        ("i", "3.0"),
        ("i", "-128"),
        ("i", "1e2"),
        ("j", "-9007199254740992"),
        ("j", "null"),
        ("s", "null"),
        ("d", "null"),
        ("m", "[[1e0,0.1],[0,0]]"),
    ] {
        read(&with(column, value)).unwrap_or_else(|e| panic!("{column} {value}: {e}"));
    }
    for (column, value, code) in [
        ("x", "9007199254740993", Code::OutOfRange),
        ("x", "1e999", Code::OutOfRange),
        ("x", "\"1\"", Code::WrongType),
        ("x", "true", Code::WrongType),
        ("x", "null", Code::NullNotAllowed),
        ("x", "[1]", Code::WrongType),
        ("x", "{\"a\":[{}]}", Code::WrongType),
        ("i", "3.5", Code::WrongType),
        ("i", "128", Code::OutOfRange),
        ("i", "99999999999999999999999999", Code::OutOfRange),
        ("i", "99999999999999999999999999999999999999999999999", Code::OutOfRange),
        ("x", "1361129467683753853853498429727072845825", Code::OutOfRange),
        ("x", "170141183460469231731687303715884105727", Code::OutOfRange),
        ("j", "9007199254740993.0", Code::WrongType),
        ("j", "9007199254740993", Code::OutOfRange),
        ("b", "1", Code::WrongType),
        ("b", "\"true\"", Code::WrongType),
        ("s", "1", Code::WrongType),
        ("d", "\"2001-02-29\"", Code::WrongFormat),
        ("d", "5", Code::WrongType),
        ("w", "\"1970-01-01T00:00:00\"", Code::WrongFormat),
        ("m", "[[1,2],[3]]", Code::WrongShape),
        ("m", "[[1,2],[3,4],[5,6]]", Code::WrongShape),
        ("m", "[1,2,3,4]", Code::WrongShape),
        ("m", "1", Code::WrongShape),
        ("m", "[[1,2],[3,null]]", Code::NullNotAllowed),
        ("m", "[[1,2],[3,\"4\"]]", Code::WrongType),
        ("m", "[[1,2],[3,1e39]]", Code::OutOfRange),
    ] {
        let error = refused(&with(column, value));
        assert_eq!(error.code(), code, "{column} {value}: {error}");
        let detail = &error.parts().details[0];
        assert_eq!((detail.row, detail.column.as_deref()), (Some(0), Some(column)));
        assert_eq!(detail.path.as_deref(), Some(format!("$.{column}").as_str()));
    }
}

#[test]
fn faults_say_where() {
    let body = format!(r#"[{ROW},{{"x":1,"i":1,"b":true,"w":"?","m":[[0,0],[0,0]],"q":0,"x":2}}]"#);
    let error = refused(&body);
    let found: Vec<_> = error.parts().details.iter().map(|d| (d.code, d.path.clone().unwrap())).collect();
    assert_eq!(
        found,
        [
            (Code::WrongFormat, "$[1].w".to_owned()),
            (Code::UnknownColumn, "$[1].q".to_owned()),
            (Code::DuplicateColumn, "$[1].x".to_owned()),
        ]
    );
    assert_eq!(refused("{}").code(), Code::MissingColumn);
    assert_eq!(refused("{}").parts().details.len(), 5);
    assert_eq!(refused("[1]").code(), Code::WrongShape);
    assert_eq!(refused(r#"{"columns":{"x":[1,2],"i":[1]}}"#).code(), Code::WrongShape);
    assert_eq!(refused(r#"{"columns":{"x":1}}"#).code(), Code::WrongShape);
    // A second key makes a record of it, and `rows` is not a column.
    assert_eq!(refused(r#"{"rows":[],"x":1}"#).code(), Code::UnknownColumn);
    let many = format!("[{}]", vec!["{}"; 99].join(","));
    assert_eq!(refused(&many).parts().details.len(), crate::error::MAX_DETAILS);
    assert_eq!(refused(&format!("[{}]", vec![ROW; 101].join(","))).code(), Code::TooManyRows);
}

#[test]
fn unknown_columns_may_be_ignored() {
    let plan = plan(UnknownColumns::Ignore);
    let mut buffer = plan.buffer();
    let body = with("more", r#"{"deep":[1,"]}",{"x":null}]}"#);
    assert_eq!(JsonReader::default().read(body.as_bytes(), &plan, &mut buffer, 9).unwrap().0, 1);
    let deep = with("more", &("[".repeat(10_000) + &"]".repeat(10_000)));
    assert_eq!(JsonReader::default().read(deep.as_bytes(), &plan, &mut buffer, 9).unwrap_err().code(), Code::TooDeep);
}

#[test]
fn what_is_not_json_is_400() {
    for body in [
        "",
        " ",
        "{",
        "[",
        "{\"x\"",
        "{\"x\":",
        "{\"x\":1",
        "{\"x\":1,}",
        "nul",
        "1",
        "\"x\"",
        "[{}",
        "{}x",
        "{x:1}",
        "{'x':1}",
        "{\"x\":01}",
        "{\"x\":+1}",
        "{\"x\":.5}",
        "{\"x\":1.}",
        "{\"x\":1e}",
        "{\"x\":NaN}",
        "{\"x\":Infinity}",
        "{\"x\":-Infinity}",
        "{\"s\":\"\u{1}\"}",
        r#"{"s":"\x"}"#,
        r#"{"s":"\ud800"}"#,
        "{\"x\":--1}",
    ] {
        assert_eq!(refused(body).code(), Code::MalformedJson, "{body}");
    }
    let plan = plan(UnknownColumns::Refuse);
    let error = JsonReader::default().read(b"{\"s\":\"\xff\"}", &plan, &mut plan.buffer(), 9).unwrap_err();
    assert_eq!(error.code(), Code::MalformedJson);
}

proptest! {
    #[test]
    fn any_double_is_read_to_the_last_bit(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        if value == 0.0 {
            let (buffer, ..) = read(&with("x", if value.is_sign_negative() { "-0" } else { "0" })).unwrap();
            let TensorBuffer::F64(numbers) = buffer.tensor(0).unwrap().0 else { panic!() };
            prop_assert_eq!(numbers[0].to_bits(), value.to_bits());
        }
        for text in [zmij::Buffer::new().format_finite(value).to_owned(), format!("{value:e}"), format!("{value:.25e}")] {
            let (buffer, ..) = read(&with("x", &text)).unwrap();
            let TensorBuffer::F64(numbers) = buffer.tensor(0).unwrap().0 else { panic!() };
            prop_assert_eq!(numbers[0].to_bits(), value.to_bits(), "{}", text);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        let plan = plan(UnknownColumns::Ignore);
        let _ = JsonReader::default().read(&body, &plan, &mut plan.buffer(), 9);
    }

    #[test]
    fn no_damage_to_json_makes_it_panic(at in 0..ROW.len(), byte: u8) {
        let plan = plan(UnknownColumns::Refuse);
        let mut body = format!("[{ROW}]").into_bytes();
        body[at] = byte;
        let _ = JsonReader::default().read(&body, &plan, &mut plan.buffer(), 9);
    }

    #[test]
    fn strings_come_through_whatever_their_escapes(text: String, ascii: bool) {
        let mut quoted = serde_json::to_string(&text).unwrap();
        if ascii {
            quoted = quoted.chars().map(|c| if c.is_ascii() { c.to_string() } else {
                c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()
            }).collect();
        }
        let (buffer, ..) = read(&with("s", &quoted)).unwrap();
        let TensorBuffer::Text(texts) = buffer.tensor(2).unwrap().0 else { panic!() };
        prop_assert_eq!(texts.get(0), text);
    }
}
