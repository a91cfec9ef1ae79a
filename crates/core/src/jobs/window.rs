//! The jobs that may be handed out next, in memory: a window on the first of those that the disk keeps, in their order.
//!
//! It is bounded however many wait, and filled anew from the disk when it is empty.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::job::Claimed;

/// Most jobs in the window, and most bytes of their bodies; a body beyond is read when it is handed out.
const JOBS: usize = 16_384;
const BYTES: usize = 64 << 20;
/// Jobs that it is filled with at a time.
pub const FILL: usize = 4_096;

/// A job's turn: greater priority first, then who came first.
pub type Turn = (Reverse<i64>, i64);

/// A job that may be handed out.
#[derive(Debug)]
pub struct Ready {
    pub job: Claimed,
    pub rows: u64,
    /// Whether the body is there.
    pub loaded: bool,
}

#[derive(Debug, Default)]
pub struct Window {
    jobs: BTreeMap<Turn, Ready>,
    bytes: usize,
    /// Whether the disk has no others.
    complete: bool,
}

impl Window {
    /// Adds a job that is on the disk already, if the window reaches so far.
    pub fn push(&mut self, turn: Turn, mut ready: Ready) {
        if !self.complete && self.jobs.last_key_value().is_none_or(|(last, _)| turn > *last) {
            return;
        }
        if self.bytes + ready.job.body.len() > BYTES {
            ready.job.body = Vec::new();
            ready.loaded = false;
        }
        self.insert(turn, ready);
        if self.jobs.len() > JOBS
            && let Some((_, last)) = self.jobs.pop_last()
        {
            self.bytes -= last.job.body.len();
            self.complete = false;
        }
    }

    fn insert(&mut self, turn: Turn, ready: Ready) {
        self.bytes += ready.job.body.len();
        if let Some(before) = self.jobs.insert(turn, ready) {
            self.bytes -= before.job.body.len();
        }
    }

    pub fn remove(&mut self, turn: Turn) {
        self.bytes -= self.jobs.remove(&turn).map_or(0, |ready| ready.job.body.len());
    }

    /// The next job of all.
    pub fn pop(&mut self) -> Option<(Turn, Ready)> {
        let (turn, ready) = self.jobs.pop_first()?;
        self.bytes -= ready.job.body.len();
        Some((turn, ready))
    }

    /// Takes back what could not be handed out after all.
    pub fn put_back(&mut self, turn: Turn, ready: Ready) {
        self.insert(turn, ready);
    }

    /// Whether it is to be filled from the disk.
    pub fn wants_more(&self) -> bool {
        self.jobs.is_empty() && !self.complete
    }

    /// Fills an empty window with the first jobs of the disk; `complete` says that there are no others.
    pub fn fill(&mut self, jobs: impl Iterator<Item = (Turn, Ready)>, complete: bool) {
        jobs.for_each(|(turn, ready)| self.insert(turn, ready));
        self.complete = complete;
    }

    /// Forgets that it has seen all: a job was left out that the disk still keeps.
    pub fn look_again(&mut self) {
        self.complete = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Media;

    fn ready(place: i64, bytes: usize) -> Ready {
        let body = vec![0; bytes];
        let (input, output) = (Media::Json, Media::Json);
        let (id, model) = (place.to_string(), "flights".to_owned());
        let job = Claimed { place, claim: 0, id, model, input, output, body, file: None, attempts: 1, deadline: None };
        Ready { job, rows: 1, loaded: true }
    }

    fn places(window: &mut Window) -> Vec<i64> {
        std::iter::from_fn(|| window.pop()).map(|(turn, _)| turn.1).collect()
    }

    #[test]
    fn greater_priority_then_who_came_first() {
        let mut window = Window::default();
        window.fill(std::iter::empty(), true);
        for (priority, place) in [(0, 1), (5, 2), (0, 3), (-1, 4), (5, 5)] {
            window.push((Reverse(priority), place), ready(place, 1));
        }
        window.remove((Reverse(0), 3));
        assert_eq!(places(&mut window), [2, 5, 1, 4]);
        assert_eq!(window.bytes, 0);
    }

    #[test]
    fn what_lies_beyond_the_window_is_left_to_the_disk() {
        let mut window = Window::default();
        window.push((Reverse(0), 1), ready(1, 1));
        assert!(window.wants_more(), "it cannot know whether others come first");
        window.fill([((Reverse(0), 1), ready(1, 1)), ((Reverse(0), 2), ready(2, 1))].into_iter(), false);
        window.push((Reverse(0), 9), ready(9, 1));
        window.push((Reverse(3), 10), ready(10, 1));
        assert_eq!(places(&mut window), [10, 1, 2]);
        assert!(window.wants_more());
    }

    #[test]
    fn it_is_bounded() {
        let mut window = Window::default();
        window.fill(std::iter::empty(), true);
        let count = i64::try_from(JOBS).unwrap() + 10;
        (1..=count).for_each(|place| window.push((Reverse(0), place), ready(place, 8 << 10)));
        assert!(window.bytes <= BYTES);
        let found = places(&mut window);
        assert_eq!((found.len(), found.first(), window.wants_more()), (JOBS, Some(&1), true));
    }
}
