//! What Arrow can claim, and what it may cost.

use std::sync::Arc;

use arrow_array::{ArrayRef, DictionaryArray, Float64Array, NullArray, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Field;
use proptest::prelude::*;

use super::*;
use crate::bundle::stage::StageInput;
use crate::signature::Signature;
use crate::values::TensorBuffer;

/// A plan of a wide tensor and a nullable string.
fn plan() -> Plan {
    let signature = r#"{"inputs":[{"name":"wide","type":"tensor","dtype":"float64","shape":[4096]},
        {"name":"s","type":"dictionary","nullable":true}],"outputs":[{"name":"p","type":"float64"}]}"#;
    let inputs: Vec<StageInput> = serde_json::from_str(
        r#"[{"name":"wide","type":"float64","columns":["wide"]},{"name":"s","type":"string","columns":["s"]},
        {"name":"s__valid","type":"bool","valid":"s"}]"#,
    )
    .unwrap();
    Plan::new(&Signature::from_json(signature).unwrap().inputs, &inputs, UnknownColumns::Refuse).unwrap()
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let fields: Vec<_> = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, c)| c).collect();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&RecordBatch::try_new(schema, arrays).unwrap()).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn rows_that_are_only_claimed_cost_nothing() {
    let plan = plan();
    let mut buffer = plan.buffer();
    let body = stream(vec![("s", Arc::new(NullArray::new(1_000_000)))]);
    assert!(body.len() < 1_000);
    let error = read_stream(&body, &plan, &mut buffer, 1_000_000).unwrap_err();
    assert_eq!(error.code(), Code::MissingColumn);
    assert_eq!(buffer.capacity_bytes(), 0);
}

#[test]
fn dictionaries_are_read_by_key() {
    let plan = {
        let signature = r#"{"inputs":[{"name":"s","type":"dictionary","nullable":true}],"outputs":[{"name":"p","type":"float64"}]}"#;
        let inputs = r#"[{"name":"s","type":"string","columns":["s"]},{"name":"s__valid","type":"bool","valid":"s"}]"#;
        let inputs: Vec<StageInput> = serde_json::from_str(inputs).unwrap();
        Plan::new(&Signature::from_json(signature).unwrap().inputs, &inputs, UnknownColumns::Refuse).unwrap()
    };
    let keys = arrow_array::Int8Array::from(vec![Some(1), None, Some(0), Some(2)]);
    let values = StringArray::from(vec![Some("a"), Some("ü"), None]);
    let array = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
    let mut buffer = plan.buffer();
    assert_eq!(read_stream(&stream(vec![("s", Arc::new(array))]), &plan, &mut buffer, 10).unwrap(), 4);
    let (TensorBuffer::Text(texts), _) = buffer.tensor(0).unwrap() else { panic!() };
    assert_eq!((0..4).map(|i| texts.get(i)).collect::<Vec<_>>(), ["ü", "", "a", ""]);
    assert_eq!(*buffer.tensor(1).unwrap().0, TensorBuffer::Bool(vec![true, false, true, false]));
}

proptest! {
    #[test]
    fn no_damage_makes_it_panic(at in 0_usize..2_000, byte: u8, cut in 0_usize..2_000) {
        let plan = plan();
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
        let mut body = stream(vec![("s", text), ("wide", Arc::new(Float64Array::from(vec![1.0, 2.0])))]);
        let length = body.len();
        body[at % length] = byte;
        body.truncate(length - cut % length);
        let mut buffer = plan.buffer();
        prop_assert!(read_stream(&body, &plan, &mut buffer, 10).is_err());
        prop_assert_eq!(buffer.rows(), 0);
    }
}
