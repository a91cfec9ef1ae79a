//! The calls that settle messages: which script, with which words.

use std::borrow::Cow;

use redis::{Cmd, Pipeline, cmd};

use super::super::Config;
use super::super::message::{CORRELATION_ID, Settled, Target};
use super::entries::{EntryId, write_fields};

/// Publishes any reply and dead letter.
pub const SETTLE: &str = concat!(include_str!("settle.lua"), include_str!("delete.lua"));
/// Publishes replies that differ in id and body only.
pub const ANSWER: &str = concat!(include_str!("answer.lua"), include_str!("delete.lua"));

/// How long an id that a sender chose keeps others from being answered.
const CHOSEN_TTL_MS: usize = 3_600_000;
/// Messages, and bytes, of one call of a script: other clients wait for it.
const MESSAGES: usize = 256;
const BYTES: usize = 4 << 20;

type Header = (Cow<'static, str>, Cow<'static, [u8]>);
type One = Settled<EntryId>;

/// What Redis knows the scripts by.
#[derive(Default)]
pub struct Digests {
    pub settle: String,
    pub answer: String,
}

/// The calls that settle messages.
pub fn calls(config: &Config, digests: &Digests, settled: &[One]) -> Pipeline {
    // Those whose replies have the same words, and the others.
    let mut alike: Vec<(&[Header], Vec<&One>)> = Vec::new();
    let mut others = Vec::new();
    for one in settled {
        match words(one) {
            None => others.push(one),
            Some(words) => match alike.iter_mut().find(|(own, _)| *own == words) {
                Some((_, ones)) => ones.push(one),
                None => alike.push((words, vec![one])),
            },
        }
    }
    let mut pipeline = Pipeline::new();
    for (words, mut ones) in alike {
        for part in parts(&mut ones) {
            pipeline.add_command(answer(config, digests, words, part));
        }
    }
    for part in parts(&mut others) {
        pipeline.add_command(settle(config, digests, part));
    }
    pipeline
}

/// The headers of a reply behind its id, if there is nothing else to it.
fn words(one: &One) -> Option<&[Header]> {
    let is_plain = one.message_id.is_none() && one.dead_letter.is_none() && one.reply.to == Target::Replies;
    match one.reply.headers.split_first() {
        Some(((name, _), words)) if is_plain && name == CORRELATION_ID => Some(words),
        _ => None,
    }
}

/// Parts of messages that one call may have, in the order of their ids.
fn parts<'a, 'b>(ones: &'a mut Vec<&'b One>) -> impl Iterator<Item = &'a [&'b One]> {
    ones.sort_unstable_by_key(|one| one.tag);
    let mut rest = ones.as_slice();
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |one: &&&One| {
            let before = bytes;
            bytes += one.reply.body.len() + one.dead_letter.as_ref().map_or(0, |letter| letter.body.len());
            before < BYTES
        };
        let count = rest.iter().take(MESSAGES).take_while(fits).count();
        let (part, later) = rest.split_at_checked(count)?;
        rest = later;
        (!part.is_empty()).then_some(part)
    })
}

fn answer(config: &Config, digests: &Digests, words: &[Header], part: &[&One]) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(&digests.answer).arg(2).arg(&config.requests).arg(&config.replies);
    call.arg(&config.group).arg(words.len() * 2);
    for (name, value) in words {
        call.arg(name.as_bytes()).arg(value.as_ref());
    }
    let told: Vec<&[u8]> =
        part.iter().map(|one| one.reply.headers.first().map_or(&[][..], |(_, id)| id.as_ref())).collect();
    let ids: Vec<String> = part.iter().map(|one| one.tag.to_string()).collect();
    let is_same = ids.iter().zip(&told).all(|(id, told)| id.as_bytes() == *told);
    call.arg(packed(ids.iter().map(String::as_bytes)));
    call.arg(packed(if is_same { &[] } else { told.as_slice() }.iter().copied()));
    call.arg(packed(part.iter().map(|one| one.reply.body.as_slice())));
    call
}

/// Texts as one MessagePack list.
fn packed<'a>(texts: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    // Five bytes say how long something is.
    let mut list = Vec::with_capacity(5 + texts.clone().map(|text| text.len() + 5).sum::<usize>());
    // What is over four gigabytes is over every limit of Redis.
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    list.push(0xdd);
    list.extend(length(texts.len()));
    for text in texts {
        list.push(0xdb);
        list.extend(length(text.len()));
        list.extend(text);
    }
    list
}

fn settle(config: &Config, digests: &Digests, part: &[&One]) -> Cmd {
    // Places of the names that requests asked for, counted from 1 as in Lua.
    let mut named: Vec<&str> = Vec::new();
    for one in part {
        if let Target::Named(name) = &one.reply.to
            && !named.contains(&name.as_str())
        {
            named.push(name);
        }
    }
    let place = |target: &Target| match target {
        Target::Replies => 2,
        Target::Unprocessable => 3,
        Target::Failed => 4,
        Target::Named(name) => named.iter().position(|own| own == name).map_or(2, |at| at + 5),
    };
    let mut call = cmd("EVALSHA");
    call.arg(&digests.settle).arg(4 + named.len()).arg(&config.requests).arg(&config.replies);
    call.arg(config.unprocessable()).arg(config.failed()).arg(&named);
    call.arg(&config.group).arg(format!("{}.{}.answered.", config.requests, config.group)).arg(CHOSEN_TTL_MS);
    for one in part {
        call.arg(one.tag).arg(one.message_id.as_deref().unwrap_or_default()).arg(place(&one.reply.to));
        write_fields(&mut call, &one.reply);
        match &one.dead_letter {
            None => _ = call.arg(0).arg(0),
            Some(letter) => {
                call.arg(place(&letter.to));
                write_fields(&mut call, letter);
            }
        }
    }
    call
}
