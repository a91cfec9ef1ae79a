//! What the Redis client library can do at most: read messages in batches, echo them, acknowledge them, and nothing
//! else. `bare_redis URL REQUESTS REPLIES`; the benchmark `queues` measures it beside the server.

use std::error::Error;

use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, Value};

const GROUP: &str = "bare";
const BATCH: usize = 1_024;
/// How long a read waits where there is nothing, in milliseconds.
const WAIT_MS: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(requests), Some(replies)) = (words.next(), words.next(), words.next()) else {
        return Err("bare_redis URL REQUESTS REPLIES".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(echo(&url, &requests, &replies))
}

async fn echo(url: &str, requests: &str, replies: &str) -> Result<(), Box<dyn Error>> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let _: () = connection.xgroup_create_mkstream(requests, GROUP, "0").await?;
    let options = StreamReadOptions::default().group(GROUP, "one").count(BATCH).block(WAIT_MS);
    let mut reader = connection.clone();
    let mut read: Option<StreamReadReply> = reader.xread_options(&[requests], &[">"], &options).await?;
    loop {
        let mut answers = redis::pipe();
        let mut ids = Vec::with_capacity(BATCH);
        for message in read.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
            let body = match message.map.get("body") {
                Some(Value::BulkString(bytes)) => bytes.as_slice(),
                _ => return Err("a message without a body".into()),
            };
            answers.xadd(replies, "*", &[("id", message.id.as_bytes()), ("body", body)]).ignore();
            ids.push(message.id);
        }
        if ids.is_empty() {
            read = reader.xread_options(&[requests], &[">"], &options).await?;
            continue;
        }
        answers.xack(requests, GROUP, &ids).ignore();
        // The next messages come while these are answered.
        let answered = answers.query_async::<()>(&mut connection);
        let (streams, from) = ([requests], [">"]);
        let (next, done) = tokio::join!(reader.xread_options(&streams, &from, &options), answered);
        done?;
        read = next?;
    }
}
