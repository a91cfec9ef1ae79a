//! What the NATS client library can do at most: pull messages, echo them, acknowledge them once the echo is stored, and
//! nothing else. `bare_nats URL REQUESTS REPLIES`; the benchmark `queues` measures it beside the server.

use async_nats::jetstream::{self, consumer::pull};
use futures_util::TryStreamExt;

/// Messages that one pull asks for, and that are answered side by side.
const BATCH: usize = 1_024;

fn main() -> Result<(), async_nats::Error> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(requests), Some(replies)) = (words.next(), words.next(), words.next()) else {
        return Err("bare_nats URL REQUESTS REPLIES".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(echo(&url, &requests, replies))
}

async fn echo(url: &str, requests: &str, replies: String) -> Result<(), async_nats::Error> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    let stream = jetstream.get_stream(jetstream.stream_by_subject(requests).await?).await?;
    let config = pull::Config {
        durable_name: Some("bare".into()),
        max_ack_pending: 4 * i64::try_from(BATCH)?,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(2 * BATCH).messages().await?;
    messages
        .map_err(async_nats::Error::from)
        .map_ok(|message| answer(&jetstream, &replies, message))
        .try_buffer_unordered(BATCH)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}

async fn answer(
    jetstream: &jetstream::Context,
    replies: &str,
    message: jetstream::Message,
) -> Result<(), async_nats::Error> {
    jetstream.publish(replies.to_owned(), message.payload.clone()).await?.await?;
    message.ack().await
}
