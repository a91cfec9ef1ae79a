//! What the table of callbacks promises, within a store on a real disk.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::job::{Ending, Finished, NewJob, State};
use super::super::super::store::Store;
use super::*;
use crate::exchange::Media;

const HOST: &str = "a.b";

fn open(folder: &tempfile::TempDir) -> Store {
    let store = Store::open(folder.path(), u64::MAX, Arc::default(), Arc::default()).unwrap();
    prepare(&store.connection).unwrap();
    store
}

fn within<T>(store: &mut Store, work: impl FnOnce(&mut Store) -> T) -> T {
    store.begin().unwrap();
    let done = work(store);
    store.commit().unwrap();
    done
}

fn submit(store: &mut Store, id: &str, callback: bool) {
    let job = NewJob {
        file: None,
        id: Some(id.to_owned()),
        model: "flights".to_owned(),
        input: Media::Json,
        output: Media::Json,
        body: b"{}".to_vec(),
        digest: Some([1; 32]),
        rows: 1,
        priority: 0,
        not_before: None,
        deadline: None,
        ttl_s: 0.0,
        callback: callback.then(|| Destination { url: format!("https://{HOST}/{id}"), host: HOST.to_owned() }),
    };
    within(store, |store| store.submit(job).unwrap());
}

/// Hands a job out, and has it come back.
fn finish(store: &mut Store, how: Ending) {
    let claimed = store.claim(1, 1, 1).unwrap().jobs.remove(0);
    let finished = Finished { place: claimed.place, claim: claimed.claim, id: claimed.id, how };
    within(store, |store| store.finish(&finished).unwrap());
}

fn all_due(store: &Store) -> Vec<Due> {
    due(&store.connection, HOST, (f64::MIN, now()), 100).unwrap()
}

fn tried(store: &mut Store, due: &Due, how: Tried) {
    let (job, event) = (due.job.clone(), due.event.clone());
    let change = Change::Tried { job, event, attempts: due.attempts + 1, how };
    within(store, |store| store.call_back(&change).unwrap());
}

fn again(store: &mut Store, job: &str) -> Result<()> {
    within(store, |store| store.call_back(&Change::Again { job: job.to_owned() }).map(drop))
}

fn is_there(store: &Store, id: &str) -> bool {
    store.connection.query_row("SELECT count(*) FROM jobs WHERE chosen = ?1", [id], |row| row.get::<_, i64>(0)).unwrap()
        > 0
}

#[test]
fn every_end_is_an_event_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let endings = [
        Ending::Succeeded { version: 1, body: b"{}".to_vec() },
        Ending::Failed(Error::new(Code::EngineFailed, "x")),
        Ending::Expired,
    ];
    for (ending, expected) in endings.into_iter().zip(1..) {
        submit(&mut store, &format!("job-{expected}"), true);
        assert_eq!(all_due(&store).len(), expected - 1, "a job that waits is told");
        finish(&mut store, ending);
        assert_eq!(all_due(&store).len(), expected);
    }
    submit(&mut store, "cancelled", true);
    within(&mut store, |store| store.cancel("cancelled").unwrap());
    submit(&mut store, "again", true);
    finish(&mut store, Ending::Again { pause: Duration::from_secs(1_000), counted: true });
    submit(&mut store, "untold", false);
    finish(&mut store, Ending::Expired);
    let mut told: Vec<_> = all_due(&store).into_iter().map(|due| due.job).collect();
    told.sort();
    assert_eq!(told, ["cancelled", "job-1", "job-2", "job-3"]);
    assert_eq!(pending(&store.connection).unwrap(), 4);
    assert_eq!(next_host(&store.connection, "").unwrap().as_deref(), Some(HOST));
    assert_eq!(next_host(&store.connection, HOST).unwrap(), None);
}

#[test]
fn an_end_that_is_not_written_is_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    submit(&mut store, "a", true);
    store.begin().unwrap();
    store.cancel("a").unwrap();
    assert_eq!(all_due(&store).len(), 1);
    store.roll_back();
    assert_eq!(all_due(&store).len(), 0);
}

#[test]
fn a_job_is_kept_until_its_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    for (id, callback) in [("told", true), ("untold", false)] {
        submit(&mut store, id, callback);
        within(&mut store, |store| store.cancel(id).unwrap());
    }
    within(&mut store, |store| store.sweep().unwrap());
    assert!(is_there(&store, "told") && !is_there(&store, "untold"));
    let due = all_due(&store).remove(0);
    tried(&mut store, &due, Tried::Failed { due: now() + 1_000.0, why: "x".to_owned() });
    within(&mut store, |store| store.sweep().unwrap());
    assert!(is_there(&store, "told") && all_due(&store).is_empty());
    assert!(next_due(&store.connection, HOST, now()).unwrap().is_some());
    tried(&mut store, &due, Tried::Delivered);
    within(&mut store, |store| store.sweep().unwrap());
    assert!(!is_there(&store, "told"));
    let left: i64 = store.connection.query_row("SELECT count(*) FROM callbacks", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_new_end_is_a_new_event_and_the_old_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    submit(&mut store, "a", true);
    within(&mut store, |store| store.cancel("a").unwrap());
    let old = all_due(&store).remove(0);
    assert_eq!(within(&mut store, |store| store.retry("a").unwrap()).state, State::Queued);
    assert!(all_due(&store).is_empty());
    assert_eq!(again(&mut store, "a").unwrap_err().code(), Code::JobConflict);
    within(&mut store, |store| store.cancel("a").unwrap());
    let new = all_due(&store).remove(0);
    assert_ne!(old.event, new.event);
    tried(&mut store, &old, Tried::Delivered);
    assert_eq!(all_due(&store).remove(0).event, new.event);
    tried(&mut store, &new, Tried::Dead { why: "x".to_owned() });
    assert!(all_due(&store).is_empty());
    again(&mut store, "a").unwrap();
    let once_more = all_due(&store).remove(0);
    assert_eq!((once_more.event, once_more.attempts), (new.event, 0));
}

#[test]
fn a_server_that_calls_nobody_forgets_jobs_in_time_and_the_next_one_tells_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    for id in ["before", "during"] {
        submit(&mut store, id, true);
    }
    within(&mut store, |store| store.cancel("before").unwrap());
    store.connection.execute("UPDATE jobs SET ttl_s = 1000 WHERE chosen = 'during'", []).unwrap();
    rest(&store.connection).unwrap();
    within(&mut store, |store| store.cancel("during").unwrap());
    within(&mut store, |store| store.sweep().unwrap());
    assert!(!is_there(&store, "before") && is_there(&store, "during"));
    prepare(&store.connection).unwrap();
    assert_eq!(all_due(&store).into_iter().map(|due| due.job).collect::<Vec<_>>(), ["during"]);
    let expires = "SELECT expires IS NULL FROM jobs WHERE chosen = 'during'";
    assert!(store.connection.query_row(expires, [], |row| row.get::<_, bool>(0)).unwrap());
    // A store that never had a callback stays as it is.
    let other = tempfile::tempdir().unwrap();
    let other = Store::open(other.path(), u64::MAX, Arc::default(), Arc::default()).unwrap();
    rest(&other.connection).unwrap();
}

#[test]
fn what_cannot_be_told_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    submit(&mut store, "untold", false);
    within(&mut store, |store| store.cancel("untold").unwrap());
    assert_eq!(again(&mut store, "untold").unwrap_err().code(), Code::JobConflict);
    assert_eq!(again(&mut store, "nobody").unwrap_err().code(), Code::UnknownJob);
}

#[test]
fn what_waits_is_there_when_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    submit(&mut store, "a", true);
    within(&mut store, |store| store.cancel("a").unwrap());
    let event = all_due(&store).remove(0).event;
    drop(store);
    assert_eq!(all_due(&open(&folder)).remove(0).event, event);
}
