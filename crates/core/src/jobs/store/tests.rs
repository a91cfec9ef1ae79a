//! What the store promises, of one file on a real disk.

use std::time::Duration;

use super::super::reader::Reader;
use super::*;
use crate::exchange::Media;

fn job(id: &str) -> NewJob {
    NewJob {
        id: Some(id.to_owned()),
        model: "flights".to_owned(),
        input: Media::Json,
        output: Media::Arrow,
        file: None,
        body: id.as_bytes().to_vec(),
        digest: Some([1; 32]),
        rows: 1,
        priority: 0,
        not_before: None,
        deadline: None,
        ttl_s: 60.0,
        callback: None,
    }
}

fn open_in(folder: &std::path::Path, limit_bytes: u64) -> Result<Store> {
    Store::open(folder, limit_bytes, Arc::default(), Arc::default())
}

fn open(folder: &tempfile::TempDir) -> Store {
    open_in(folder.path(), u64::MAX).unwrap()
}

fn reader(folder: &tempfile::TempDir, store: &Store) -> Reader {
    Reader::open(folder.path(), store).unwrap()
}

/// Does some work in a transaction of its own.
fn within<T>(store: &mut Store, work: impl FnOnce(&mut Store) -> T) -> T {
    store.begin().unwrap();
    let done = work(store);
    store.commit().unwrap();
    done
}

fn claim(store: &mut Store) -> Vec<Claimed> {
    store.claim(100, 100, 1).unwrap().jobs
}

fn ids(jobs: &[Claimed]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

fn state(folder: &tempfile::TempDir, store: &Store, id: &str) -> State {
    reader(folder, store).job(id).unwrap().0.state
}

fn succeeded(job: &Claimed) -> Finished {
    let how = Ending::Succeeded { version: 3, body: job.body.clone() };
    Finished { place: job.place, claim: job.claim, id: job.id.clone(), how }
}

#[test]
fn a_job_goes_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    assert_eq!(state(&folder, &store, "a"), State::Queued);
    let claimed = claim(&mut store);
    assert_eq!((ids(&claimed), claimed[0].attempts, claimed[0].body.as_slice()), (vec!["a"], 1, &b"a"[..]));
    assert_eq!(state(&folder, &store, "a"), State::Running);
    assert!(claim(&mut store).is_empty(), "it was handed out twice");
    within(&mut store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    let (record, result) = reader(&folder, &store).job("a").unwrap();
    assert_eq!((record.state, record.version), (State::Succeeded, Some(3)));
    let result = result.unwrap();
    assert_eq!((result.media, result.bytes.as_slice()), (Media::Arrow, &b"a"[..]));
}

#[test]
fn the_same_request_again_is_the_same_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let first = within(&mut store, |store| store.submit(job("a")).unwrap());
    assert_eq!(within(&mut store, |store| store.submit(job("a")).unwrap()).place, first.place);
    let other = NewJob { digest: Some([2; 32]), ..job("a") };
    assert_eq!(within(&mut store, |store| store.submit(other).unwrap_err()).code(), Code::JobConflict);
    assert_eq!(claim(&mut store).len(), 1);
}

#[test]
fn greater_priority_comes_first_and_later_ones_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let soon = now() + 100.0;
    within(&mut store, |store| {
        for new in [
            job("a"),
            NewJob { priority: 5, ..job("urgent") },
            job("b"),
            NewJob { not_before: Some(soon), ..job("later") },
            NewJob { priority: -1, ..job("idle") },
        ] {
            store.submit(new).unwrap();
        }
    });
    assert_eq!(ids(&claim(&mut store)), ["urgent", "a", "b", "idle"]);
    assert_eq!(store.claim(9, 9, 1).unwrap().next.map(|wait| wait.as_secs()), Some(99));
}

#[test]
fn as_many_rows_are_handed_out_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| {
        for id in ["a", "b", "c"] {
            store.submit(NewJob { rows: 10, ..job(id) }).unwrap();
        }
    });
    assert_eq!(store.claim(100, 15, 1).unwrap().jobs.len(), 2);
}

#[test]
fn what_was_running_when_the_server_died_is_queued_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    claim(&mut store);
    drop(store);
    let claimed = claim(&mut open(&folder));
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec!["a"], 2));
}

#[test]
fn what_was_not_committed_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    store.begin().unwrap();
    store.submit(job("a")).unwrap();
    store.roll_back();
    assert_eq!(reader(&folder, &store).job("a").unwrap_err().code(), Code::UnknownJob);
}

#[test]
fn a_cancelled_job_stays_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    let claimed = claim(&mut store);
    assert_eq!(within(&mut store, |store| store.cancel("a").unwrap()).state, State::Cancelled);
    within(&mut store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    assert_eq!(state(&folder, &store, "a"), State::Cancelled);
    assert_eq!(within(&mut store, |store| store.retry("a").unwrap()).state, State::Queued);
    assert_eq!(within(&mut store, |store| store.retry("a").unwrap_err()).code(), Code::JobConflict);
    assert_eq!(ids(&claim(&mut store)), ["a"]);
}

#[test]
fn deadlines_and_times_to_live_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| {
        store.submit(NewJob { deadline: Some(now() - 1.0), ..job("late") }).unwrap();
        store.submit(NewJob { ttl_s: 0.0, ..job("short") }).unwrap()
    });
    let claimed = claim(&mut store);
    assert_eq!(ids(&claimed), ["short"]);
    within(&mut store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    assert_eq!(within(&mut store, |store| store.sweep().unwrap()).0, ["late"]);
    assert_eq!(state(&folder, &store, "late"), State::Expired);
    assert_eq!(reader(&folder, &store).job("short").unwrap_err().code(), Code::UnknownJob);
}

#[test]
fn a_full_store_says_so_and_another_server_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_in(folder.path(), 1).unwrap();
    assert_eq!(within(&mut store, |store| store.submit(job("a")).unwrap_err()).code(), Code::JobStoreFull);
    assert_eq!(open_in(folder.path(), 1).err().unwrap().code(), Code::JobsUnavailable);
}

#[test]
fn a_job_that_failed_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    let claimed = claim(&mut store);
    let how = Ending::Failed(Error::new(Code::EngineFailed, "no").hint("yes"));
    within(&mut store, |store| store.finish(&Finished { how, ..succeeded(&claimed[0]) }).unwrap());
    let (record, _) = reader(&folder, &store).job("a").unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&record.to_text(None)).unwrap()["error"]["code"],
        "engine_failed"
    );
    within(&mut store, |store| store.retry("a").unwrap());
    assert_eq!(claim(&mut store)[0].attempts, 1);
}

#[test]
fn a_job_that_servers_die_over_fails_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    within(&mut open(&folder), |store| store.submit(job("a")).unwrap());
    for attempt in 1..=ATTEMPTS {
        assert_eq!(claim(&mut open(&folder))[0].attempts, attempt);
    }
    let mut store = open(&folder);
    assert!(claim(&mut store).is_empty());
    assert_eq!(state(&folder, &store, "a"), State::Failed);
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| ["a", "b", "c"].map(|id| store.submit(job(id)).unwrap()));
    let reader = reader(&folder, &store);
    let first = reader.list(None, Some("flights"), i64::MAX, 2).unwrap();
    let rest = reader.list(Some(State::Queued), None, first[1].place, 2).unwrap();
    let ids: Vec<_> = first.iter().chain(&rest).map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["c", "b", "a"]);
    assert!(reader.list(Some(State::Failed), None, i64::MAX, 2).unwrap().is_empty());
}

#[test]
fn a_full_queue_is_no_try() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    let mut claimed = claim(&mut store);
    for (counted, attempts) in [(false, 1), (true, 2), (false, 2)] {
        let how = Ending::Again { pause: Duration::ZERO, counted };
        within(&mut store, |store| store.finish(&Finished { how, ..succeeded(&claimed[0]) }).unwrap());
        claimed = claim(&mut store);
        assert_eq!(claimed[0].attempts, attempts);
    }
}

#[test]
fn what_servers_died_over_twice_is_scored_alone() {
    let folder = tempfile::tempdir().unwrap();
    within(&mut open(&folder), |store| ["a", "b"].map(|id| store.submit(job(id)).unwrap()));
    assert_eq!(ids(&claim(&mut open(&folder))), ["a", "b"]);
    assert_eq!(ids(&claim(&mut open(&folder))), ["a", "b"]);
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("c")).unwrap());
    let turns = [claim(&mut store), claim(&mut store), claim(&mut store)];
    assert_eq!(turns.each_ref().map(|jobs| ids(jobs)), [vec!["a"], vec!["b"], vec!["c"]]);
}

#[test]
fn what_is_kept_is_the_servers_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    drop(open_in(&jobs, u64::MAX).unwrap());
    assert_eq!(std::fs::metadata(jobs).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_answer_of_a_claim_that_was_cancelled_ends_no_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    let old = claim(&mut store);
    within(&mut store, |store| store.cancel("a").unwrap());
    within(&mut store, |store| store.retry("a").unwrap());
    let new = claim(&mut store);
    let how = Ending::Failed(Error::new(Code::EngineFailed, "of before"));
    assert!(!within(&mut store, |store| store.finish(&Finished { how, ..succeeded(&old[0]) }).unwrap()));
    assert_eq!(state(&folder, &store, "a"), State::Running);
    assert!(within(&mut store, |store| store.finish(&succeeded(&new[0])).unwrap()));
    assert_eq!(state(&folder, &store, "a"), State::Succeeded);
}

#[test]
fn what_was_not_committed_is_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    assert!(claim(&mut store).is_empty());
    store.begin().unwrap();
    store.submit(job("a")).unwrap();
    store.roll_back();
    assert!(claim(&mut store).is_empty());
    within(&mut store, |store| store.submit(job("b")).unwrap());
    let claimed = claim(&mut store);
    store.begin().unwrap();
    store.finish(&succeeded(&claimed[0])).unwrap();
    store.roll_back();
    assert_eq!(state(&folder, &store, "b"), State::Running);
    assert!(within(&mut store, |store| store.finish(&succeeded(&claimed[0])).unwrap()));
}

#[test]
fn a_place_is_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let first = within(&mut store, |store| store.submit(NewJob { ttl_s: 0.0, ..job("a") }).unwrap()).place;
    within(&mut store, |store| store.cancel("a").unwrap());
    within(&mut store, |store| store.sweep().unwrap());
    assert!(within(&mut store, |store| store.submit(job("b")).unwrap()).place > first);
}

#[test]
fn a_pause_is_waited_for_and_forgotten_by_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    within(&mut store, |store| store.submit(job("a")).unwrap());
    let claimed = claim(&mut store);
    let how = Ending::Again { pause: Duration::from_secs(100), counted: true };
    within(&mut store, |store| store.finish(&Finished { how, ..succeeded(&claimed[0]) }).unwrap());
    let handed = store.claim(9, 9, 1).unwrap();
    assert_eq!((handed.jobs.len(), handed.next.map(|wait| wait.as_secs())), (0, Some(99)));
    assert_eq!(state(&folder, &store, "a"), State::Queued);
    drop(store);
    assert_eq!(ids(&claim(&mut open(&folder))), ["a"]);
}

#[test]
fn more_than_the_window_holds_come_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let count = 20_000_i64;
    within(&mut store, |store| (0..count).for_each(|n| drop(store.submit(job(&n.to_string())).unwrap())));
    within(&mut store, |store| store.submit(NewJob { priority: 1, ..job("urgent") }).unwrap());
    let mut places = Vec::new();
    loop {
        let handed = store.claim(3_000, 3_000, 1).unwrap().jobs;
        places.extend(handed.iter().map(|job| job.place));
        assert!(handed.iter().all(|job| job.body == job.id.as_bytes()));
        if handed.is_empty() {
            break;
        }
        // Only some have ended when the next are asked for.
        within(&mut store, |store| handed.iter().step_by(2).for_each(|job| _ = store.finish(&succeeded(job)).unwrap()));
    }
    let expected: Vec<i64> = std::iter::once(count + 1).chain(1..=count).collect();
    assert!(places == expected, "{} of {}", places.len(), expected.len());
}

#[test]
fn a_job_without_an_id_gets_one_that_nobody_else_ever_has() {
    let folder = tempfile::tempdir().unwrap();
    let nameless = || NewJob { id: None, ttl_s: 0.0, ..job("body") };
    let mut store = open(&folder);
    let [first, second] = within(&mut store, |store| [nameless(), nameless()].map(|job| store.submit(job).unwrap().id));
    assert!(first < second);
    assert_eq!(state(&folder, &store, &second), State::Queued);

    // Who sends the id of another's job does not get it, and nobody takes one before its time.
    let send = |store: &mut Store, id: &str| {
        let job = NewJob { id: Some(id.to_owned()), ..nameless() };
        within(store, |store| store.submit(job).unwrap_err().code())
    };
    assert_eq!(send(&mut store, &first), Code::JobConflict);
    let later = store.ids.make(3);
    assert_eq!(send(&mut store, &later), Code::MalformedRequest);

    // The ids of jobs that are gone are not given again.
    within(&mut store, |store| [&first, &second].map(|id| store.cancel(id).unwrap()));
    within(&mut store, |store| store.sweep().unwrap());
    drop(store);
    let mut store = open(&folder);
    assert_eq!(reader(&folder, &store).job(&second).unwrap_err().code(), Code::UnknownJob);
    assert_eq!(within(&mut store, |store| store.submit(nameless()).unwrap().id), later);
}
