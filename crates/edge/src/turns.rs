//! Fairness among users: how much is done at a time, for all of them and for each.
//!
//! A user whose processes ask for much, or whose files are slow to read, waits for its own turns, and takes
//! none from others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Users that are known at once. Whoever has no turn and waits for none is forgotten first.
const USERS_MAX: usize = 4096;

/// Turns to do something.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    of_user_max: usize,
    users: Mutex<HashMap<u32, Weak<Semaphore>>>,
}

/// One turn, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _shared: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _user: Arc<Semaphore>,
}

impl Turns {
    /// So many at a time, and so many of one user.
    pub(crate) fn new(max: usize, of_user_max: usize) -> Self {
        let all = Arc::new(Semaphore::new(max));
        Self { all, of_user_max, users: Mutex::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn take(&self, user: u32) -> Option<Turn> {
        let of_user = self.of(user)?;
        let mine = Arc::clone(&of_user).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _shared: all, _own: mine, _user: of_user })
    }

    /// Waits until there is a turn for somebody, and takes none.
    pub(crate) async fn wait(&self) {
        let _ = self.all.acquire().await;
    }

    /// A turn, if there is one now.
    pub(crate) fn take_now(&self, user: u32) -> Option<Turn> {
        let of_user = self.of(user)?;
        let mine = Arc::clone(&of_user).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Turn { _shared: all, _own: mine, _user: of_user })
    }

    fn of(&self, user: u32) -> Option<Arc<Semaphore>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = users.get(&user).and_then(Weak::upgrade) {
            return Some(known);
        }
        if users.len() >= USERS_MAX {
            users.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.of_user_max));
        (users.len() < USERS_MAX).then(|| users.insert(user, Arc::downgrade(&new)));
        users.contains_key(&user).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_user_takes_no_turn_of_another() {
        let turns = Turns::new(3, 2);
        let (one, two) = (turns.take_now(1).expect("a turn"), turns.take(1).await.expect("two"));
        assert!(turns.take_now(1).is_none(), "it has its own");
        let other = turns.take_now(2).expect("of another");
        assert!(turns.take_now(3).is_none(), "there are no more");
        drop(one);
        assert!(turns.take_now(3).is_some() && turns.take_now(1).is_some());
        drop((two, other));
        // Who is not there is not remembered.
        for user in 0..USERS_MAX as u32 * 2 {
            assert!(turns.take_now(user).is_some());
        }
        assert!(turns.users.lock().expect("whole").len() <= USERS_MAX);
    }
}
