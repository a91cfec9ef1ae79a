//! Tests of what needs no broker: what headers mean, how entries are read and written, and which settings go together.

use std::borrow::Cow;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::message::{Delivery, Headers, Publication, Request, Target};
use super::{Config, Outcome, plan};
use crate::error::{Code, Error};
use crate::exchange::Media;
use crate::settings::ServeSettings;

fn config() -> Config {
    Config {
        tls: super::Tls::default(),
        url: "redis://127.0.0.1".to_owned(),
        requests: "flights.in".to_owned(),
        replies: "flights.out".to_owned(),
        group: "monorail".to_owned(),
        consumer: "me".to_owned(),
        attempts: 5,
        ack_wait: Duration::from_secs(30),
        reply_to: Some("replies.".to_owned()),
        limit_body_bytes: 100,
    }
}

fn message(headers: &[(&str, &[u8])], body: &[u8]) -> Delivery<u64> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    Delivery { tag: 7, attempts: 2, headers: Headers(headers), body: body.to_vec() }
}

fn header<'a>(publication: &'a Publication, name: &str) -> Option<&'a str> {
    let value = publication.headers.iter().find(|(own, _)| own == name);
    value.map(|(_, value)| std::str::from_utf8(value).unwrap())
}

#[test]
fn headers_mean_what_they_mean_in_http() {
    let arrow = Media::Arrow.name().as_bytes();
    let read = |headers: &[(&str, &[u8])]| Request::read(&message(headers, b"{}"), &config());
    let plain = read(&[]).unwrap();
    assert_eq!((plain.input, plain.output, plain.deadline), (Media::Json, Media::Json, None));
    let whole = read(&[
        ("Content-Type", arrow),
        ("accept", b"application/json"),
        ("message-id", b"m1"),
        ("correlation-id", b"c1"),
        ("reply-to", b"replies.mine"),
        ("deadline", b"1700000000.5"),
        ("traceparent", b"00-1-2-3"),
        ("anything", b"\xff\x00"),
    ]);
    let expected = Request {
        input: Media::Arrow,
        output: Media::Json,
        message_id: Some("m1".to_owned()),
        reply_to: Some("replies.mine".to_owned()),
        deadline: Some(1_700_000_000.5),
    };
    assert_eq!(whole.unwrap(), expected);
    for (headers, code) in [
        ([("content-type", b"text/plain".as_slice())], Code::UnsupportedMediaType),
        ([("accept", b"text/plain")], Code::NotAcceptable),
        ([("message-id", b"")], Code::MalformedRequest),
        ([("correlation-id", b"\xff")], Code::MalformedRequest),
        ([("correlation-id", b"a\nb")], Code::MalformedRequest),
        ([("message-id", &[b'a'; 257])], Code::MalformedRequest),
        ([("deadline", b"soon")], Code::MalformedRequest),
        ([("deadline", b"NaN")], Code::MalformedRequest),
        ([("reply-to", b"elsewhere")], Code::ReplyToRefused),
        ([("x", &[b'a'; 40_000])], Code::HeadersTooLarge),
    ] {
        assert_eq!(read(&headers).unwrap_err().code(), code, "{headers:?}");
    }
    assert_eq!(Request::read(&message(&[], &[b' '; 101]), &config()).unwrap_err().code(), Code::BodyTooLarge);
    let nowhere = Config { reply_to: None, ..config() };
    let asked = message(&[("reply-to", b"replies.mine")], b"");
    assert_eq!(Request::read(&asked, &nowhere).unwrap_err().code(), Code::ReplyToRefused);
    // Not even a prefix that is too short lets a message write where requests come from.
    let open = Config { reply_to: Some("fl".to_owned()), ..config() };
    let asked = message(&[("reply-to", b"flights.in")], b"");
    assert_eq!(Request::read(&asked, &open).unwrap_err().code(), Code::ReplyToRefused);
}

#[test]
fn a_refusal_says_why_and_keeps_the_request() {
    let headers: [(&str, &[u8]); 3] = [("correlation-id", b"c1"), ("traceparent", b"00-1"), ("mine", b"kept")];
    let error = Error::new(Code::WrongType, "no number").hint("send one");
    let settled = message(&headers, b"[1]").refused(None, &error, Outcome::Unprocessable);
    assert_eq!((settled.status, &settled.reply.to), (422, &Target::Replies));
    for (name, value) in [
        ("correlation-id", "c1"),
        ("status", "422"),
        ("code", "wrong_type"),
        ("traceparent", "00-1"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(header(&settled.reply, name), Some(value), "{name}");
    }
    let body: serde_json::Value = serde_json::from_slice(&settled.reply.body).unwrap();
    assert_eq!(
        body,
        json!({"error": {"code": "wrong_type", "message": "no number", "hint": "send one", "request_id": "c1", "details": []}})
    );
    let letter = settled.dead_letter.unwrap();
    assert_eq!((letter.to.clone(), letter.body.as_slice()), (Target::Unprocessable, b"[1]".as_slice()));
    assert_eq!(header(&letter, "mine"), Some("kept"));
    assert_eq!(header(&letter, "monorail-attempts"), Some("2"));
    assert_eq!(header(&letter, "monorail-code"), Some("wrong_type"));
    assert!(header(&letter, "monorail-reason").unwrap().contains("no number"));
    let failed = message(&[], b"").refused(None, &error, Outcome::Failed);
    assert_eq!(failed.dead_letter.unwrap().to, Target::Failed);
    // Without an id of its own a message is known by the broker's.
    assert_eq!(header(&failed.reply, "correlation-id"), Some("7"));
    assert_eq!(message(&[], b"").refused(None, &error, Outcome::Expired).dead_letter, None);
}

proptest! {
    #[test]
    fn no_headers_make_it_panic(headers: Vec<(String, Vec<u8>)>, body: Vec<u8>) {
        let delivery = Delivery { tag: 1, attempts: 1, headers: Headers(headers.clone()), body: body.clone() };
        let read = Request::read(&delivery, &config());
        let error = read.as_ref().err().cloned().unwrap_or_else(|| Error::new(Code::Internal, "x"));
        let letter = delivery.refused(read.ok(), &error, Outcome::Failed).dead_letter.unwrap();
        // A dead letter is the request again, and more.
        prop_assert_eq!(letter.body, body);
        for (own, (name, value)) in letter.headers.iter().zip(&headers) {
            prop_assert_eq!((own.0.as_ref(), own.1.as_ref()), (name.as_str(), value.as_slice()));
        }
    }

    #[test]
    fn ids_come_back(id in "[ -~]{1,256}") {
        let delivery = message(&[("correlation-id", id.as_bytes())], b"");
        let request = Request::read(&delivery, &config());
        prop_assert!(request.is_ok());
        let error = Error::new(Code::Internal, "x");
        let settled = delivery.refused(None, &error, Outcome::Failed);
        prop_assert_eq!(header(&settled.reply, "correlation-id"), Some(id.as_str()));
    }
}

#[test]
fn a_publication_keeps_its_order() {
    let publication = Publication {
        to: Target::Replies,
        headers: vec![(Cow::Borrowed("a"), Cow::Borrowed(b"1")), (Cow::Borrowed("b"), Cow::Borrowed(b"2"))],
        body: Vec::new(),
    };
    assert_eq!((header(&publication, "a"), header(&publication, "b")), (Some("1"), Some("2")));
}

fn planned(settings: serde_json::Value, models: &[&str]) -> Result<Vec<(String, String, String)>, Error> {
    let settings = ServeSettings::from_json(&settings.to_string())?;
    let roads = plan(&settings, models)?;
    Ok(roads.into_iter().map(|(model, config)| (model, config.requests, config.replies)).collect())
}

#[test]
fn roads_are_told_apart() {
    let url = "redis://user:secret@127.0.0.1:6379/1";
    assert_eq!(planned(json!({"requests": "in"}), &["flights"]).unwrap(), []);
    let one = planned(json!({"queue": url, "requests": "in"}), &["flights", "flights"]).unwrap();
    assert_eq!(one, [("flights".to_owned(), "in".to_owned(), "in.replies".to_owned())]);
    let own = json!({"queue": url, "models": {"a": {"requests": "a.in"}, "b": {"requests": "b.in", "replies": "out"}}});
    let two = planned(own, &["a", "b", "c"]).unwrap();
    let expected = [("a", "a.in", "a.in.replies"), ("b", "b.in", "out")];
    assert_eq!(two, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    for wrong in [
        json!({"queue": url}),
        json!({"queue": url, "requests": "in"}),
        json!({"queue": url, "models": {"a": {"requests": "in", "replies": "in"}}}),
        json!({"queue": url, "models": {"a": {"requests": "in", "replies": "x"}, "b": {"requests": "x"}}}),
        json!({"queue": url, "models": {"a": {"requests": "in.failed"}, "b": {"requests": "in"}}}),
        json!({"queue": "nats://x", "models": {"a": {"requests": "in.*"}}}),
        json!({"queue": "nats://x", "models": {"a": {"requests": "in", "replies": "a b"}}}),
        json!({"queue": "nats://user:secret@x:port", "models": {"a": {"requests": "in"}}}),
        json!({"queue": "ftp://user:secret@x", "models": {"a": {"requests": "in"}}}),
        json!({"queue": "redis://user:secret@:port", "models": {"a": {"requests": "in"}}}),
    ] {
        let error = planned(wrong.clone(), &["a", "b"]).expect_err(&wrong.to_string());
        assert_eq!(error.code(), Code::SettingInvalid, "{wrong}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
