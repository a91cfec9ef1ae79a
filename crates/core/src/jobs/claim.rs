//! Handing out: which jobs are scored next.
//!
//! The disk hears of it only when a job has ended; what is under way is noted beside it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::{Row, params};

use crate::clock::now;
use crate::error::Result;

use super::ids::id;
use super::job::{ATTEMPTS_TOGETHER, Claimed};
use super::reader::media;
use super::running::Run;
use super::store::{AT_ONCE, Store, unwritable};
use super::window::{FILL, Ready, Turn};

/// A job that may be handed out, by its place. A long body is left on the disk until its turn has come.
pub const READY: &str = concat!(
    "SELECT place, ",
    id!(),
    ", model, input, output, attempts, deadline, rows, priority, iif(length(body) <= 16384, body, NULL),
     iif(length(body) = 0, (SELECT name FROM files WHERE files.place = jobs.place), NULL)
     FROM jobs WHERE place = ?1 AND state = 0"
);

/// Reads the columns of [`READY`].
pub fn ready(row: &Row<'_>) -> rusqlite::Result<(Turn, Ready)> {
    let place = row.get(0)?;
    let body: Option<Vec<u8>> = row.get(9)?;
    let loaded = body.is_some();
    let job = Claimed {
        place,
        claim: 0,
        id: row.get(1)?,
        model: row.get(2)?,
        input: media(row.get(3)?),
        output: media(row.get(4)?),
        body: body.unwrap_or_default(),
        file: row.get(10)?,
        attempts: row.get::<_, u32>(5)? + 1,
        deadline: row.get(6)?,
    };
    Ok(((Reverse(row.get(8)?), place), Ready { job, rows: row.get(7)?, loaded }))
}

/// Jobs that were handed out, and how long until the next one may be if there was none.
#[derive(Debug, Default)]
pub struct Handed {
    pub jobs: Vec<Claimed>,
    pub next: Option<Duration>,
}

impl Store {
    /// Hands out jobs, those of greater priority first, until they have `rows` together, and at most so many large ones,
    /// whose rows do not count. Not within a transaction.
    ///
    /// # Errors
    /// `job_store_failed`; nothing is handed out then.
    pub fn claim(&mut self, jobs: usize, rows: u64, large: usize) -> Result<Handed> {
        let at = now();
        self.make_ready(at)?;
        self.end_pauses()?;
        if self.window.wants_more() {
            self.fill(at)?;
        }
        let mut picked = self.pick(jobs, rows, large, at);
        if picked.is_empty() {
            return Ok(Handed { jobs: Vec::new(), next: self.next(at)? });
        }
        if let Err(error) = self.load(&mut picked).and_then(|()| self.note(&picked)) {
            picked.into_iter().for_each(|(turn, ready)| self.window.put_back(turn, ready));
            return Err(error);
        }
        let claim = self.next_claim;
        self.next_claim += 1;
        self.running.start(picked.iter().map(|((Reverse(priority), place), ready)| {
            (*place, Run { claim, attempts: ready.job.attempts, started: at, priority: *priority, rows_done: 0 })
        }));
        let jobs = picked.into_iter().map(|(_, ready)| Claimed { claim, ..ready.job });
        Ok(Handed { jobs: jobs.collect(), next: None })
    }

    /// Makes jobs ready that were put off until now.
    fn make_ready(&mut self, at: f64) -> Result<()> {
        let due = "SELECT place FROM jobs WHERE state = 1 AND not_before <= ?1 LIMIT ?2";
        let due: Vec<i64> = self.rows(due, params![at, AT_ONCE as u64], |row| row.get(0))?;
        if due.is_empty() {
            return Ok(());
        }
        let mut ready_now = || {
            self.begin()?;
            due.iter().try_for_each(|place| {
                self.execute("UPDATE jobs SET state = 0 WHERE place = ?1", [place])?;
                self.waits(*place)
            })?;
            self.commit()
        };
        ready_now().inspect_err(|_| self.roll_back())
    }

    /// Lets jobs be handed out that have waited their while.
    fn end_pauses(&mut self) -> Result<()> {
        let at = Instant::now();
        while let Some((until, place)) = self.paused.first().copied()
            && until <= at
        {
            let found = self.row(READY, [place], ready)?;
            self.paused.pop_first();
            found.into_iter().for_each(|(turn, ready)| self.window.push(turn, ready));
        }
        Ok(())
    }

    /// How long until a job may be handed out that waits its while.
    fn next(&self, at: f64) -> Result<Option<Duration>> {
        let put_off = self.row("SELECT min(not_before) FROM jobs WHERE state = 1", [], |row| row.get(0))?.flatten();
        let put_off = put_off.map(|until: f64| Duration::from_secs_f64((until - at).clamp(0.0, 1e9)));
        let paused = self.paused.first().map(|(until, _)| until.saturating_duration_since(Instant::now()));
        Ok(put_off.into_iter().chain(paused).min())
    }

    /// Fills the window from the disk.
    fn fill(&mut self, at: f64) -> Result<()> {
        // Those under way and those that pause are among the first there.
        let most = FILL + self.running.count() + self.paused.len();
        let first = "SELECT place FROM jobs WHERE state = 0 ORDER BY priority DESC, place LIMIT ?1";
        let first: Vec<i64> = self.rows(first, [most as u64], |row| row.get(0))?;
        let mut complete = first.len() < most;
        let mut found = Vec::with_capacity(FILL);
        let paused: HashSet<i64> = self.paused.iter().map(|(_, place)| *place).collect();
        let elsewhere = |place: &i64| paused.contains(place) || self.running.get(*place).is_some();
        for place in first.into_iter().filter(|place| !elsewhere(place)) {
            match self.row(READY, [place], ready)? {
                Some((_, ready)) if ready.job.is_late(at) => complete = false,
                other => found.extend(other),
            }
        }
        self.window.fill(found.into_iter(), complete);
        Ok(())
    }

    /// Takes jobs out of the window.
    fn pick(&mut self, jobs: usize, rows: u64, large: usize, at: f64) -> Vec<(Turn, Ready)> {
        let (mut picked, mut taken, mut left, mut passed) = (Vec::new(), 0, large, Vec::new());
        while picked.len() < jobs && taken < rows {
            let Some((turn, ready)) = self.window.pop() else { break };
            if ready.job.is_late(at) {
                // It is expired on the disk soon, unless the clock was wrong.
                self.window.look_again();
                continue;
            }
            let is_large = ready.job.file.is_some();
            if is_large && left == 0 {
                passed.push((turn, ready));
                continue;
            }
            let alone = ready.job.attempts > ATTEMPTS_TOGETHER;
            if alone && !picked.is_empty() {
                self.window.put_back(turn, ready);
                break;
            }
            taken += if is_large { 0 } else { ready.rows.max(1) };
            left -= usize::from(is_large);
            picked.push((turn, ready));
            if alone {
                break;
            }
        }
        passed.into_iter().for_each(|(turn, ready)| self.window.put_back(turn, ready));
        picked
    }

    /// Reads the bodies that the window did not keep.
    fn load(&self, picked: &mut [(Turn, Ready)]) -> Result<()> {
        for (_, ready) in picked.iter_mut().filter(|(_, ready)| !ready.loaded) {
            let body = self.row("SELECT body FROM jobs WHERE place = ?1", [ready.job.place], |row| row.get(0))?;
            ready.job.body = body.unwrap_or_default();
            ready.loaded = true;
        }
        Ok(())
    }

    /// Notes what is handed out.
    fn note(&mut self, picked: &[(Turn, Ready)]) -> Result<()> {
        let places = picked.iter().map(|(turn, _)| turn.1);
        let all = || self.running.snapshot().into_keys().collect();
        self.under_way.add(places, all).map_err(|e| unwritable(&e))
    }
}

impl Claimed {
    fn is_late(&self, at: f64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= at)
    }
}
