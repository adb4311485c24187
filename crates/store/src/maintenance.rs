//! Moving the journal into the file, off the request path.
//!
//! A thread with a connection of its own moves pages while the writer goes on. It can never catch
//! up with a writer that does not pause, and a journal that is never wholly moved is never begun
//! anew; so the writer itself moves the last few pages, between two batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::driver::Conn;

/// Pages, by estimate, after which the journal is moved: 8 MiB. Twice as many cost three per cent
/// less for each token, and make those wait twice as long that come while they are moved.
const JOURNAL_PAGES: usize = 2048;
/// Pages that the writer moves itself; with more left, the thread goes over them once more.
const TAIL_PAGES_MAX: u64 = 128;
/// How often the thread goes over the journal before it leaves the rest for the next time.
const ROUNDS_MAX: usize = 4;
/// Pages that a commit changes whatever is in it.
const PAGES_OF_BATCH: usize = 4;
/// Members whose events fill about a page.
const MEMBERS_OF_PAGE: usize = 4;

/// The writer's view of the journal.
pub(crate) struct Journal {
    pages: usize,
    ask: SyncSender<()>,
    tail: Arc<AtomicBool>,
}

/// The thread's side.
pub(crate) struct Maintenance {
    asked: Receiver<()>,
    tail: Arc<AtomicBool>,
}

/// The two ends.
pub(crate) fn pair() -> (Journal, Maintenance) {
    let (ask, asked) = sync_channel(1);
    let tail = Arc::new(AtomicBool::new(false));
    (Journal { pages: 0, ask, tail: Arc::clone(&tail) }, Maintenance { asked, tail })
}

impl Journal {
    /// After a batch of `members`.
    pub(crate) fn written(&mut self, conn: &mut dyn Conn, members: usize) {
        self.pages += PAGES_OF_BATCH + members / MEMBERS_OF_PAGE;
        if self.tail.swap(false, Ordering::Relaxed) {
            move_pages(conn);
        }
        if self.pages >= JOURNAL_PAGES {
            self.pages = 0;
            // Where the thread is still at it, the next time will do.
            let _ = self.ask.try_send(());
        }
    }
}

impl Maintenance {
    /// Moves pages when asked, until the writer is gone.
    pub(crate) fn run(&self, conn: &mut dyn Conn) {
        while self.asked.recv().is_ok() {
            for _ in 0..ROUNDS_MAX {
                if move_pages(conn).is_some_and(|left| left <= TAIL_PAGES_MAX) {
                    self.tail.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// Moves what can be moved now; says how many pages are left, or nothing where it failed.
fn move_pages(conn: &mut dyn Conn) -> Option<u64> {
    match conn.checkpoint() {
        Ok(left) => Some(left),
        Err(error) => {
            tracing::warn!(%error, "the journal could not be moved; it is tried again");
            None
        }
    }
}
