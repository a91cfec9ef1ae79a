//! Tests of entries: whatever is written as fields is read back, and no reply of Redis ends in a panic.

use std::borrow::Cow;

use proptest::prelude::*;
use redis::{Arg, Cmd, Value};

use super::super::message::{Publication, Target};
use super::entries::{delivery, id, of_stream, write_fields};

/// The entry that Redis would give for a publication, from the words that are sent for it.
fn entry(publication: &Publication, id: &str) -> Value {
    let mut command = Cmd::new();
    write_fields(&mut command, publication);
    let words: Vec<Value> = command
        .args_iter()
        .filter_map(|arg| match arg {
            Arg::Simple(bytes) => Some(Value::BulkString(bytes.to_vec())),
            _ => None,
        })
        .collect();
    let count: usize = match &words[0] {
        Value::BulkString(digits) => std::str::from_utf8(digits).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count, words.len() - 1);
    Value::Array(vec![Value::BulkString(id.as_bytes().to_vec()), Value::Array(words[1..].to_vec())])
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<i64>().prop_map(Value::Int),
        any::<Vec<u8>>().prop_map(Value::BulkString),
        "[0-9]{1,20}-[0-9]{1,20}".prop_map(|id| Value::BulkString(id.into_bytes())),
        any::<String>().prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        headers in prop::collection::vec(("[a-z-]{1,20}", any::<Vec<u8>>()), 0..8),
        body: Vec<u8>,
        ms: u64,
        seq: u64,
    ) {
        prop_assume!(headers.iter().all(|(name, _)| name != "body"));
        let published = Publication {
            to: Target::Replies,
            headers: headers.iter().map(|(n, v)| (Cow::Owned(n.clone()), Cow::Owned(v.clone()))).collect(),
            body: body.clone(),
        };
        let read = delivery(entry(&published, &format!("{ms}-{seq}")), |_| 3).unwrap();
        prop_assert_eq!((read.tag.ms, read.tag.seq, read.attempts), (ms, seq, 3));
        prop_assert_eq!(read.tag.to_string(), format!("{ms}-{seq}"));
        prop_assert_eq!(read.headers.0, headers);
        prop_assert_eq!(read.body, body);
        // The id goes back as it came.
        let mut command = Cmd::new();
        command.arg(read.tag);
        let text = format!("{ms}-{seq}");
        prop_assert_eq!(command.args_iter().next(), Some(Arg::Simple(text.as_bytes())));
    }

    #[test]
    fn no_reply_makes_it_panic(reply in value()) {
        let _ = id(&reply);
        let _ = delivery(reply.clone(), |_| 1);
        for entry in of_stream(reply) {
            let _ = delivery(entry, |_| 1);
        }
    }
}
