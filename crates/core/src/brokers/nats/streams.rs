//! The streams behind our subjects, and the consumer that gives out requests: found, or made where there are none.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::stream::{self, RetentionPolicy, Stream};

use super::super::Config;
use super::Place;
use crate::error::{Error, Result};

/// For how long a stream that we make knows the ids of its messages, at least. NATS's own default.
const DUPLICATES: Duration = Duration::from_secs(120);

/// The stream of requests and our group's consumer on it, with streams for all that we publish.
///
/// # Errors
/// `queue_unavailable`, `setting_invalid`.
pub async fn ensure(jetstream: &Context, config: &Config, place: &Place) -> Result<(Stream<()>, PullConsumer)> {
    // Where dead letters and replies go is there before the first request is taken.
    for subject in [&config.replies, &config.unprocessable(), &config.failed()] {
        ensure_stream(jetstream, subject, RetentionPolicy::Limits, config, place).await?;
    }
    // Of requests is kept what is not answered: the stream's length is the queue's.
    let name = ensure_stream(jetstream, &config.requests, RetentionPolicy::WorkQueue, config, place).await?;
    let fault = |error: &dyn std::error::Error| place.fault(error);
    let stream = jetstream.get_stream_no_info(name).await.map_err(|error| fault(&error))?;
    let settings = pull::Config {
        durable_name: Some(named(&format!("{}-{}", config.group, config.requests))),
        filter_subject: config.requests.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        // How often a message is given out, and how many are, the servers decide.
        max_deliver: -1,
        max_ack_pending: -1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(settings).await.map_err(|error| fault(&error))?;
    Ok((stream, consumer))
}

/// The name of the stream that keeps a subject; it is made where there is none.
async fn ensure_stream(
    jetstream: &Context,
    subject: &str,
    retention: RetentionPolicy,
    config: &Config,
    place: &Place,
) -> Result<String> {
    if let Some(name) = of_subject(jetstream, subject, place).await? {
        return Ok(name);
    }
    let settings = stream::Config {
        name: named(subject),
        subjects: vec![subject.to_owned()],
        retention,
        // What is given out again after `ack_wait` must still be known.
        duplicate_window: DUPLICATES.max(config.ack_wait * 4),
        ..stream::Config::default()
    };
    let made = jetstream.create_stream(settings).await;
    match (made, of_subject(jetstream, subject, place).await?) {
        (_, Some(name)) => Ok(name),
        (Err(error), None) => Err(place.fault(&error)),
        (Ok(_), None) => Err(place.says("the stream that was made is gone")),
    }
}

/// The name of the stream that keeps a subject, if there is one.
///
/// # Errors
/// `queue_unavailable`.
pub async fn of_subject(jetstream: &Context, subject: &str, place: &Place) -> Result<Option<String>> {
    match jetstream.stream_by_subject(subject).await {
        Ok(name) => Ok(Some(name)),
        Err(error) => match error.kind() {
            GetStreamByNameErrorKind::NotFound => Ok(None),
            GetStreamByNameErrorKind::Request if says_nobody(&error) => Err(no_jetstream(place)),
            _ => Err(place.fault(&error)),
        },
    }
}

/// Whether nobody answers for JetStream, which the client calls a resource that does not exist.
fn says_nobody(error: &dyn std::error::Error) -> bool {
    error.to_string().contains("requested JetStream resource does not exist") || error.source().is_some_and(says_nobody)
}

fn no_jetstream(place: &Place) -> Error {
    place.says("JetStream is not on").hint("start nats-server with --jetstream, and allow this account to use it")
}

/// Whether a name is a subject that can be published to.
pub fn is_subject(name: &str) -> bool {
    !name.starts_with('$')
        && name
            .split('.')
            .all(|word| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "*>".contains(c)))
}

/// A subject as the name of a stream or consumer, which has no dots.
fn named(subject: &str) -> String {
    subject.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
