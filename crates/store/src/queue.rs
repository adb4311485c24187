//! The writer's queue: bounded, drained whole, with a wait that many short waits are traded for.
//!
//! The writer sleeps until as many members are there as it wants. While it lingers for company,
//! whoever comes early does not wake it: one wake-up for a batch, not one for each member.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Members that may wait to be written. At 64 in flight a batch takes well under a millisecond:
/// a queue this long is seconds of work, and whoever came last has given up by then.
pub const QUEUE_MAX: usize = 8192;

/// Why a member was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// [`QUEUE_MAX`] are waiting: shed load.
    Full,
    /// The store is closed, or its writer is gone.
    Closed,
}

/// A queue of members with one reader.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// The reader sleeps until so many are there; above any length where it does not sleep.
    wanted: usize,
    closed: bool,
    /// Batches that may still be taken; any number where nobody holds the reader.
    held: Option<usize>,
}

impl<T> State<T> {
    fn may_take(&self) -> bool {
        self.closed || (!self.waiting.is_empty() && self.held != Some(0))
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let waiting = VecDeque::new();
        let state = State { waiting, wanted: usize::MAX, closed: false, held: None };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Adds a member, or hands it back with the reason.
    pub(crate) fn push(&self, member: T) -> Result<(), (T, NotQueued)> {
        let mut state = self.lock();
        if state.closed {
            return Err((member, NotQueued::Closed));
        }
        if state.waiting.len() >= QUEUE_MAX {
            return Err((member, NotQueued::Full));
        }
        state.waiting.push_back(member);
        let enough = state.waiting.len() >= state.wanted;
        drop(state);
        if enough {
            self.wake.notify_one();
            // Where processors are fewer than threads the reader would run when this thread's turn
            // is over, a millisecond later, while those who came first wait for it.
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Takes at most `max` members into `batch`. Waits for the first as long as it takes, and
    /// then at most `linger` for there to be `target`. False once it is closed and empty.
    pub(crate) fn take(
        &self,
        batch: &mut Vec<T>,
        max: usize,
        target: usize,
        linger: Duration,
    ) -> bool {
        let mut state = self.lock();
        while !state.may_take() {
            state.wanted = 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.waiting.len() < target && !state.closed && state.held.is_none() {
            state.wanted = target;
            let short = |state: &mut State<T>| state.waiting.len() < target && !state.closed;
            state = self
                .wake
                .wait_timeout_while(state, linger, short)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.wanted = usize::MAX;
        state.held = state.held.map(|batches| batches.saturating_sub(1));
        let taken = state.waiting.len().min(max);
        batch.extend(state.waiting.drain(..taken));
        !(batch.is_empty() && state.closed)
    }

    /// Takes all that waits.
    pub(crate) fn take_waiting(&self, into: &mut Vec<T>) {
        into.extend(self.lock().waiting.drain(..));
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Lets the reader take so many batches and no more; any number for none.
    pub(crate) fn hold(&self, batches: Option<usize>) {
        self.lock().held = batches;
        self.wake.notify_one();
    }

    /// Takes no more; what is there is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Closes, and hands out what nobody will take any more.
    pub(crate) fn abandon(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.drain(..).collect()
    }

    /// A thread that panicked with the lock held it for a push or a drain, which leave the queue
    /// whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_reader_that_is_held_takes_one_batch_for_each_step() {
        let queue = Arc::new(Queue::new());
        queue.hold(Some(0));
        let reader = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut batches = Vec::new();
                loop {
                    let mut batch = Vec::new();
                    if !queue.take(&mut batch, 9, 1, Duration::ZERO) {
                        return batches;
                    }
                    batches.push(batch);
                }
            })
        };
        for batch in [vec![1, 2, 3], vec![4], vec![5, 6]] {
            for member in batch {
                queue.push(member).expect("room");
            }
            queue.hold(Some(1));
            while queue.waiting() > 0 {
                std::thread::yield_now();
            }
        }
        queue.push(7).expect("room");
        queue.close();
        let batches = reader.join().expect("no panic");
        assert_eq!(batches, [vec![1, 2, 3], vec![4], vec![5, 6], vec![7]]);
    }

    #[test]
    fn a_full_queue_sheds_and_a_closed_one_refuses() {
        let queue = Queue::new();
        for member in 0..QUEUE_MAX {
            assert_eq!(queue.push(member), Ok(()));
        }
        assert_eq!(queue.push(7), Err((7, NotQueued::Full)));
        queue.close();
        assert_eq!(queue.push(8), Err((8, NotQueued::Closed)));
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, QUEUE_MAX - 1, 0, Duration::ZERO));
        assert_eq!(batch.len(), QUEUE_MAX - 1);
        batch.clear();
        assert!(queue.take(&mut batch, 10, 0, Duration::ZERO), "one is left");
        assert_eq!(batch, [QUEUE_MAX - 1]);
        batch.clear();
        assert!(!queue.take(&mut batch, 10, 0, Duration::ZERO));
    }

    #[test]
    fn lingering_ends_when_the_company_has_come() {
        let queue = Arc::new(Queue::new());
        let pusher = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            for member in 0..4 {
                pusher.push(member).expect("room");
            }
        });
        let mut batch = Vec::new();
        // An hour: the test ends only because the fourth one wakes the reader.
        assert!(queue.take(&mut batch, 10, 4, Duration::from_hours(1)));
        assert_eq!(batch, [0, 1, 2, 3]);
        thread.join().expect("the pusher");
    }
}
