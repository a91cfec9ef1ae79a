//! The supervisor of a model's workers: one thread that starts them, looks after the idle ones, and ends them.
//!
//! It starts every child itself, because the kernel ends a child with the thread that started it.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Reason;
use super::channel::Heard;
use super::frame::{Frame, Kind};
use super::pool::{END_GRACE, Idle, Pool, State};
use super::process::Process;

/// How long rows wait for a worker before another one is started.
const SCALE_AFTER: Duration = Duration::from_millis(50);
/// How long nothing is heard of an idle worker before it is pinged.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a pinged worker may take to answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How often idle workers are looked at.
const LOOK_UP: Duration = Duration::from_millis(250);
/// How often those on their way out are.
const LOOK_UP_ENDING: Duration = Duration::from_millis(10);

/// The body of the supervisor's thread.
pub(super) fn run(pool: &Arc<Pool>) {
    let mut state = pool.lock();
    while !state.stopping {
        let suspects = suspects(pool, &mut state);
        if !suspects.is_empty() {
            drop(state);
            for (idle, reason) in suspects {
                judge(pool, idle, reason);
            }
            state = pool.lock();
            continue;
        }
        retire(pool, &mut state);
        reap(&mut state);
        if is_start_due(pool, &state) {
            state.starting += 1;
            state.waiting_since = state.waiting_since.map(|_| Instant::now());
            drop(state);
            start(pool);
            state = pool.lock();
            continue;
        }
        let pause = pause(&state);
        state = pool.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
    }
    end_all(pool, state);
}

/// How long there is nothing to do, unless somebody notifies.
fn pause(state: &State) -> Duration {
    let mut pause = if state.ending.is_empty() { LOOK_UP } else { LOOK_UP_ENDING };
    for due in [state.waiting_since.and_then(|since| since.checked_add(SCALE_AFTER)), state.not_before] {
        if let Some(left) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
            pause = pause.min(left);
        }
    }
    pause
}

fn is_start_due(pool: &Pool, state: &State) -> bool {
    let now = Instant::now();
    if state.not_before.is_some_and(|due| now < due) {
        return false;
    }
    let fresh = state.fresh() + state.starting;
    let starved = state.waiting_since.is_some_and(|since| now.saturating_duration_since(since) >= SCALE_AFTER);
    fresh < pool.spec.min_workers()
        || (starved && state.starting == 0 && state.idle.is_empty() && fresh < pool.spec.max_workers())
}

/// Starts a child here, and has another thread wait until it is ready.
fn start(pool: &Arc<Pool>) {
    let began = Instant::now();
    let process = match Process::spawn(&pool.spec) {
        Ok(process) => Box::new(process),
        Err(error) => {
            let program = pool.spec.launch.program.display();
            return pool.refuse(&format!("cannot be started: {program}: {error}"));
        }
    };
    let greeter = pool.clone();
    let thread = std::thread::Builder::new().name("monorail-greet".to_owned());
    if thread.spawn(move || greet(&greeter, process, began)).is_err() {
        pool.refuse("cannot be greeted: no thread can be started");
    }
}

fn greet(pool: &Pool, mut process: Box<Process>, began: Instant) {
    let until = began + Duration::from_secs_f64(pool.spec.settings.worker_start_timeout_s);
    let greeted = process.greet(&pool.spec, until, &|| pool.lock().stopping);
    if let Err(what) = greeted {
        drop(process);
        return pool.refuse(&what);
    }
    let (pid, took) = (process.pid(), began.elapsed().as_millis());
    pool.spec.log.info(format_args!("{}: worker {pid} is ready after {took} ms", pool.spec.who));
    let mut state = pool.lock();
    state.starting -= 1;
    state.refusal = None;
    state.idle.insert(0, Idle::new(process));
    state.waiting_since = None;
    pool.count(&state);
    drop(state);
    pool.tell_free();
}

/// Takes idle workers out that have something to say or have not answered in time, and pings the others.
fn suspects(pool: &Pool, state: &mut State) -> Vec<(Idle, Option<Reason>)> {
    let now = Instant::now();
    let mut suspects = Vec::new();
    let mut at = 0;
    while let Some(idle) = state.idle.get_mut(at) {
        let overdue = idle.pinged.is_some_and(|since| now.saturating_duration_since(since) > SILENCE_LIMIT);
        let reason = if overdue { Some(Reason::Silent) } else { None };
        if reason.is_some() || !idle.process.channel.is_quiet() || idle.process.has_ended() {
            suspects.push((state.idle.remove(at), reason));
            state.busy += 1;
            continue;
        }
        if idle.pinged.is_none() && now.saturating_duration_since(idle.heard) > HEARTBEAT {
            idle.process.sequence += 1;
            let ping = Frame::new(Kind::Ping, idle.process.sequence, 0, 0);
            // A channel that takes no ping is seen to be closed the next time.
            if idle.process.channel.send(&ping, None).is_ok() {
                idle.pinged = Some(now);
            }
        }
        at += 1;
    }
    pool.count(state);
    suspects
}

/// Hears a worker that was taken out, and puts it back or gives it up.
fn judge(pool: &Pool, mut idle: Idle, reason: Option<Reason>) {
    let (reason, what) = match (reason, idle.process.channel.receive_now()) {
        // One that nobody has asked for is no answer: a flood of them would keep the supervisor from all else.
        (_, Heard::Frame(Frame { kind: Kind::Pong, sequence, .. }))
            if idle.pinged.is_some() && sequence == idle.process.sequence =>
        {
            (idle.pinged, idle.heard) = (None, Instant::now());
            let mut state = pool.lock();
            state.busy -= 1;
            state.idle.insert(0, idle);
            drop(state);
            return pool.tell_free();
        }
        (Some(reason), Heard::Silence) => {
            idle.process.show_where_it_is();
            (reason, format!("did not answer its heartbeat within {} s", SILENCE_LIMIT.as_secs()))
        }
        (_, Heard::Closed | Heard::Silence) => (Reason::Died, idle.process.why_gone()),
        (_, Heard::Frame(_) | Heard::Garbled) => (Reason::Garbled, "does not keep to the protocol".to_owned()),
    };
    pool.lose(idle.process, reason, &what);
}

/// Closes idle workers that are to be replaced, once there are enough others, and those that are not needed.
fn retire(pool: &Pool, state: &mut State) {
    let idle_for = Duration::from_secs_f64(pool.spec.settings.worker_idle_s);
    let now = Instant::now();
    let mut at = 0;
    while let Some(idle) = state.idle.get(at) {
        let fresh = state.fresh();
        let is_retiring = idle.process.retiring.is_some();
        let is_due = if is_retiring {
            fresh >= pool.spec.min_workers()
        } else {
            fresh > pool.spec.min_workers() && now.saturating_duration_since(idle.since) > idle_for
        };
        if !is_due {
            at += 1;
            continue;
        }
        let Idle { process, .. } = state.idle.remove(at);
        if is_retiring {
            pool.retire(state, process);
        } else {
            pool.end(state, process, "it was idle");
        }
    }
}

/// Buries workers on their way out, and kills those that take too long. Waits for none: the state is locked, and
/// whoever brings rows to the queue may be waiting for it.
fn reap(state: &mut State) {
    let now = Instant::now();
    state.ending.retain_mut(|(process, until)| !(process.reap() || (now >= *until && process.strike())));
}

/// Ends all workers, and waits for those that others hold.
fn end_all(pool: &Pool, mut state: MutexGuard<'_, State>) {
    let until = Instant::now() + END_GRACE;
    for Idle { process, .. } in std::mem::take(&mut state.idle) {
        process.close();
        state.ending.push((process, until));
    }
    pool.count(&state);
    let patience = until + END_GRACE;
    while !(state.ending.is_empty() && state.starting + state.busy == 0) && Instant::now() < patience {
        reap(&mut state);
        state = pool.changed.wait_timeout(state, LOOK_UP_ENDING).unwrap_or_else(PoisonError::into_inner).0;
    }
}
