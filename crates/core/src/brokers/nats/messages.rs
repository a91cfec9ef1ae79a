//! Messages of JetStream: what a delivery's reply subject tells, headers read and written, and what the broker says of
//! what we publish.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subject};

use super::super::message::{CONTENT_TYPE, CORRELATION_ID, Delivery, Headers, MESSAGE_ID, Publication, Settled};
use crate::error::{Code, Error};
use crate::http::respond;

/// How the names of headers begin that the broker itself obeys.
const OWN: &str = "Nats-";
/// The header by which the broker knows a message that it has already.
const ID: &str = "Nats-Msg-Id";
/// How many messages of a pull that has ended do not come.
const LEFT: &str = "Nats-Pending-Messages";
/// What a reply subject begins with that acknowledges a delivery.
const ACK: &str = "$JS.ACK.";
/// The stream's own limit on the size of a message.
const TOO_LARGE: u64 = 10_054;
/// Bytes around the headers of a message, and around each.
const AROUND: usize = 16;
const AROUND_EACH: usize = 4;

/// A message's place in its stream, when it came there, and where to speak of it.
#[derive(Clone, Debug)]
pub struct Tag {
    sequence: u64,
    /// Nanoseconds since 1970: a stream that was deleted and made again counts from 1 again.
    published_ns: u64,
    pub ack: Subject,
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        (self.sequence, self.published_ns) == (other.sequence, other.published_ns)
    }
}

impl Eq for Tag {}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sequence.hash(state);
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.published_ns, self.sequence)
    }
}

impl Tag {
    /// Reads the subject that acknowledges a delivery, and how often it was made: `$JS.ACK.` and, from newer brokers, a
    /// domain and an account; then stream, consumer, deliveries, place in the stream, place in the consumer, time.
    fn read(ack: Subject) -> Option<(Self, u32)> {
        let mut words = ack.as_str().strip_prefix(ACK)?.split('.');
        let before = if words.clone().count() >= 9 { 4 } else { 2 };
        let mut numbers = words.by_ref().skip(before);
        let attempts = numbers.next()?.parse().unwrap_or(u32::MAX);
        let sequence = numbers.next()?.parse().ok()?;
        let published_ns = numbers.nth(1)?.parse().ok()?;
        Some((Self { sequence, published_ns, ack }, attempts))
    }
}

/// A message that was given out; none if the broker did not give it out from a stream.
pub fn delivery(message: Message) -> Option<Delivery<Tag>> {
    let (tag, attempts) = Tag::read(message.reply?)?;
    let mut headers = Vec::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        // The broker would obey them again in a dead letter.
        let name = match name.get(..OWN.len()) {
            Some(start) if start.eq_ignore_ascii_case(OWN) && name.eq_ignore_ascii_case(ID) => MESSAGE_ID,
            Some(start) if start.eq_ignore_ascii_case(OWN) => continue,
            _ => name,
        };
        headers.extend(values.iter().map(|value| (name.to_owned(), value.as_str().as_bytes().to_vec())));
    }
    Some(Delivery { tag, attempts, headers: Headers(headers), body: message.payload.into() })
}

/// The headers of a reply or a dead letter. `scope` is what its id is unique in.
pub fn headers(settled: &Settled<Tag>, publication: &Publication, scope: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let dead = if is_dead_letter(settled, publication) { ".dead" } else { "" };
    let id = match &settled.message_id {
        Some(id) => format!("{scope}.{id}{dead}"),
        None => format!("{scope}.{}{dead}", settled.tag),
    };
    append(&mut headers, Cow::Borrowed(ID), &id);
    for (name, value) in &publication.headers {
        append(&mut headers, name.clone(), &String::from_utf8_lossy(value));
    }
    headers
}

/// Appends a header, as far as the protocol can carry it.
fn append(headers: &mut HeaderMap, name: Cow<'static, str>, value: &str) {
    let name = match name {
        // A name of ours is one.
        Cow::Borrowed(name) => HeaderName::from_static(name),
        Cow::Owned(name) => match HeaderName::from_str(&name) {
            Ok(name) => name,
            Err(_) => return,
        },
    };
    let value = HeaderValue::from_str(value).or_else(|_| HeaderValue::from_str(&value.replace(['\r', '\n'], " ")));
    if let Ok(value) = value {
        headers.append(name, value);
    }
}

fn is_dead_letter(settled: &Settled<Tag>, publication: &Publication) -> bool {
    settled.dead_letter.as_ref().is_some_and(|letter| letter.to == publication.to)
}

/// Bytes of a message at most, as the broker counts them.
pub fn size(publication: &Publication, scope: &str) -> usize {
    let own = ID.len() + scope.len() + 300;
    let headers: usize = publication.headers.iter().map(|(name, value)| name.len() + value.len() + AROUND_EACH).sum();
    AROUND + own + headers + publication.body.len()
}

/// What is published in the place of a reply or a dead letter that the broker takes no message as large as.
pub fn too_large(settled: &Settled<Tag>, publication: &Publication) -> Publication {
    let error =
        Error::new(Code::BodyTooLarge, format!("{} bytes are more than the broker takes", publication.body.len()))
            .hint("send fewer rows at once, or raise max_payload of the broker, and max_msg_size of the stream");
    let find = |name: &str| publication.headers.iter().find(|(own, _)| own == name).cloned();
    let mut headers: Vec<_> = find(CORRELATION_ID).into_iter().collect();
    if is_dead_letter(settled, publication) {
        let told = publication.headers.iter().filter(|(name, _)| name.starts_with("monorail-"));
        headers.extend(told.cloned());
        headers.push(("monorail-body".into(), error.to_string().into_bytes().into()));
        return Publication { to: publication.to.clone(), headers, body: Vec::new() };
    }
    let id = find(CORRELATION_ID).map(|(_, id)| String::from_utf8_lossy(&id).into_owned()).unwrap_or_default();
    let (status, code) = (error.code().status().to_string(), error.code().as_str());
    headers.push((CONTENT_TYPE.into(), respond::JSON.as_bytes().into()));
    headers.push(("status".into(), status.into_bytes().into()));
    headers.push(("code".into(), code.as_bytes().into()));
    Publication { to: publication.to.clone(), headers, body: respond::error_body(&error, &id) }
}

/// What the broker says of a message that was published.
pub enum Stored {
    Yes,
    TooLarge,
    /// It stored it not, for a reason that is not the message's.
    No(String),
}

#[derive(serde::Deserialize)]
struct Receipt {
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(serde::Deserialize)]
struct Fault {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads what the broker says.
pub fn stored(message: &Message) -> Stored {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Stored::No("no stream takes what is published".to_owned());
    }
    match serde_json::from_slice::<Receipt>(&message.payload) {
        Ok(Receipt { error: None }) => Stored::Yes,
        Ok(Receipt { error: Some(fault) }) if fault.err_code == TOO_LARGE => Stored::TooLarge,
        Ok(Receipt { error: Some(fault) }) => Stored::No(fault.description),
        Err(error) => Stored::No(format!("its answer is not understood: {error}")),
    }
}

/// The round, and the message in it, that a receipt is about.
pub fn receipt(subject: &Subject) -> Option<(u64, usize)> {
    let mut words = subject.as_str().rsplit('.');
    let number = words.next()?.parse().ok()?;
    Some((words.next()?.parse().ok()?, number))
}

/// How many messages of a pull do not come any more; none if the broker does not say.
pub fn left_of_pull(message: &Message) -> Option<usize> {
    message.headers.as_ref()?.get(LEFT)?.as_str().parse().ok()
}

/// A time since 1970 that is none before it.
pub fn nanoseconds(time: i128) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_read_from_either_form_of_its_subject() {
        for ack in [
            "$JS.ACK.requests.monorail.3.42.50.1763872563123456789.7",
            "$JS.ACK.hub.acc.requests.monorail.3.42.50.1763872563123456789.7.x",
        ] {
            let (tag, attempts) = Tag::read(Subject::from(ack)).expect(ack);
            assert_eq!((tag.to_string().as_str(), attempts), ("1763872563123456789-42", 3));
        }
        assert!(Tag::read(Subject::from("$JS.ACK.requests.monorail.3")).is_none());
        assert!(Tag::read(Subject::from("_INBOX.1")).is_none());
    }
}
