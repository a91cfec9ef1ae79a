//! What the store promises, of one file on a real disk.

use super::*;

fn job(id: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        model: "flights".to_owned(),
        input: Media::Json,
        output: Media::Arrow,
        body: id.as_bytes().to_vec(),
        digest: [1; 32],
        rows: 1,
        priority: 0,
        not_before: None,
        deadline: None,
        ttl_s: 60.0,
    }
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path(), u64::MAX).unwrap()
}

/// Does some work in a transaction of its own.
fn within<T>(store: &Store, work: impl FnOnce(&Store) -> T) -> T {
    store.begin().unwrap();
    let done = work(store);
    store.commit().unwrap();
    done
}

fn claim(store: &Store) -> Vec<Claimed> {
    within(store, |store| store.claim(100, 100).unwrap().jobs)
}

fn ids(jobs: &[Claimed]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

fn state(folder: &tempfile::TempDir, id: &str) -> State {
    Reader::open(folder.path()).unwrap().job(id).unwrap().0.state
}

fn succeeded(job: &Claimed) -> Finished {
    let how = Ending::Succeeded { version: 3, body: job.body.clone() };
    Finished { place: job.place, id: job.id.clone(), how }
}

#[test]
fn a_job_goes_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| store.submit(&job("a")).unwrap());
    assert_eq!(state(&folder, "a"), State::Queued);
    let claimed = claim(&store);
    assert_eq!((ids(&claimed), claimed[0].attempts, claimed[0].body.as_slice()), (vec!["a"], 1, &b"a"[..]));
    assert_eq!(state(&folder, "a"), State::Running);
    assert!(claim(&store).is_empty(), "it was handed out twice");
    within(&store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    let (record, result) = Reader::open(folder.path()).unwrap().job("a").unwrap();
    assert_eq!((record.state, record.version), (State::Succeeded, Some(3)));
    let result = result.unwrap();
    assert_eq!((result.media, result.bytes.as_slice()), (Media::Arrow, &b"a"[..]));
}

#[test]
fn the_same_request_again_is_the_same_job() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = within(&store, |store| store.submit(&job("a")).unwrap());
    assert_eq!(within(&store, |store| store.submit(&job("a")).unwrap()).place, first.place);
    let other = NewJob { digest: [2; 32], ..job("a") };
    assert_eq!(within(&store, |store| store.submit(&other).unwrap_err()).code(), Code::JobConflict);
    assert_eq!(claim(&store).len(), 1);
}

#[test]
fn greater_priority_comes_first_and_later_ones_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let soon = now() + 100.0;
    within(&store, |store| {
        for new in [
            job("a"),
            NewJob { priority: 5, ..job("urgent") },
            job("b"),
            NewJob { not_before: Some(soon), ..job("later") },
            NewJob { priority: -1, ..job("idle") },
        ] {
            store.submit(&new).unwrap();
        }
    });
    assert_eq!(ids(&claim(&store)), ["urgent", "a", "b", "idle"]);
    assert_eq!(within(&store, |store| store.claim(9, 9).unwrap().next), Some(soon));
}

#[test]
fn as_many_rows_are_handed_out_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| {
        for id in ["a", "b", "c"] {
            store.submit(&NewJob { rows: 10, ..job(id) }).unwrap();
        }
    });
    assert_eq!(within(&store, |store| store.claim(100, 15).unwrap().jobs.len()), 2);
}

#[test]
fn what_was_running_when_the_server_died_is_queued_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| store.submit(&job("a")).unwrap());
    claim(&store);
    drop(store);
    let claimed = claim(&open(&folder));
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec!["a"], 2));
}

#[test]
fn what_was_not_committed_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.begin().unwrap();
    store.submit(&job("a")).unwrap();
    store.roll_back();
    assert_eq!(Reader::open(folder.path()).unwrap().job("a").unwrap_err().code(), Code::UnknownJob);
}

#[test]
fn a_cancelled_job_stays_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| store.submit(&job("a")).unwrap());
    let claimed = claim(&store);
    assert_eq!(within(&store, |store| store.cancel("a").unwrap()).state, State::Cancelled);
    within(&store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    assert_eq!(state(&folder, "a"), State::Cancelled);
    assert_eq!(within(&store, |store| store.retry("a").unwrap()).state, State::Queued);
    assert_eq!(within(&store, |store| store.retry("a").unwrap_err()).code(), Code::JobConflict);
    assert_eq!(ids(&claim(&store)), ["a"]);
}

#[test]
fn deadlines_and_times_to_live_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| {
        store.submit(&NewJob { deadline: Some(now() - 1.0), ..job("late") }).unwrap();
        store.submit(&NewJob { ttl_s: 0.0, ..job("short") }).unwrap()
    });
    let claimed = claim(&store);
    assert_eq!(ids(&claimed), ["short"]);
    within(&store, |store| store.finish(&succeeded(&claimed[0])).unwrap());
    assert_eq!(within(&store, |store| store.sweep().unwrap()), ["late"]);
    assert_eq!(state(&folder, "late"), State::Expired);
    assert_eq!(Reader::open(folder.path()).unwrap().job("short").unwrap_err().code(), Code::UnknownJob);
}

#[test]
fn a_full_store_says_so_and_another_server_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1).unwrap();
    assert_eq!(store.check_room().unwrap_err().code(), Code::JobStoreFull);
    assert_eq!(Store::open(folder.path(), 1).err().unwrap().code(), Code::JobsUnavailable);
}

#[test]
fn a_job_that_failed_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| store.submit(&job("a")).unwrap());
    let claimed = claim(&store);
    let how = Ending::Failed(Error::new(Code::EngineFailed, "no").hint("yes"));
    within(&store, |store| store.finish(&Finished { place: claimed[0].place, id: "a".to_owned(), how }).unwrap());
    let (record, _) = Reader::open(folder.path()).unwrap().job("a").unwrap();
    assert_eq!(record.to_json()["error"]["code"], "engine_failed");
    within(&store, |store| store.retry("a").unwrap());
    assert_eq!(claim(&store)[0].attempts, 1);
}

#[test]
fn a_job_that_servers_die_over_fails_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    within(&open(&folder), |store| store.submit(&job("a")).unwrap());
    for attempt in 1..=ATTEMPTS {
        assert_eq!(claim(&open(&folder))[0].attempts, attempt);
    }
    assert!(claim(&open(&folder)).is_empty());
    assert_eq!(state(&folder, "a"), State::Failed);
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| ["a", "b", "c"].map(|id| store.submit(&job(id)).unwrap()));
    let reader = Reader::open(folder.path()).unwrap();
    let first = reader.list(None, Some("flights"), i64::MAX, 2).unwrap();
    let rest = reader.list(Some(State::Queued), None, first[1].place, 2).unwrap();
    let ids: Vec<_> = first.iter().chain(&rest).map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["c", "b", "a"]);
    assert!(reader.list(Some(State::Failed), None, i64::MAX, 2).unwrap().is_empty());
}

#[test]
fn a_full_queue_is_no_try() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    within(&store, |store| store.submit(&job("a")).unwrap());
    let (place, id) = (claim(&store)[0].place, "a".to_owned());
    for (counted, attempts) in [(false, 1), (true, 2), (false, 2)] {
        let how = Ending::Again { not_before: 0.0, counted };
        within(&store, |store| store.finish(&Finished { place, id: id.clone(), how }).unwrap());
        assert_eq!(claim(&store)[0].attempts, attempts);
    }
}

#[test]
fn what_servers_died_over_twice_is_scored_alone() {
    let folder = tempfile::tempdir().unwrap();
    within(&open(&folder), |store| ["a", "b"].map(|id| store.submit(&job(id)).unwrap()));
    assert_eq!(ids(&claim(&open(&folder))), ["a", "b"]);
    assert_eq!(ids(&claim(&open(&folder))), ["a", "b"]);
    let store = open(&folder);
    within(&store, |store| store.submit(&job("c")).unwrap());
    let turns = [claim(&store), claim(&store), claim(&store)];
    assert_eq!(turns.each_ref().map(|jobs| ids(jobs)), [vec!["a"], vec!["b"], vec!["c"]]);
}

#[test]
fn what_is_kept_is_the_servers_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    drop(Store::open(&jobs, u64::MAX).unwrap());
    assert_eq!(std::fs::metadata(jobs).unwrap().permissions().mode() & 0o777, 0o700);
}
