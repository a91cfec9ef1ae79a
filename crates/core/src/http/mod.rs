//! HTTP/1.1, hand-written on tokio: one event loop a thread, requests parsed where they were read.
//!
//! [`head`] reads a request's head, [`chunks`] a chunked body, [`connection`] runs one connection, [`routes`] says what a path means,
//! [`predict`] answers the hot one, [`jobs`] those of asynchronous predictions, [`events`] tells of a job as it goes on, [`event_loop`] gathers one turn's rows for the batchers, and
//! [`respond`] writes answers.

mod chunks;
pub mod connection;
mod download;
pub mod event_loop;
mod events;
pub mod head;
mod jobs;
pub mod predict;
pub mod query;
pub mod respond;
pub mod routes;
mod upload;
