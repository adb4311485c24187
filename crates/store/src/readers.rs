//! Reading: a few threads that do one read after the other, each on a connection of its own.
//!
//! Short reads that wait together share one snapshot, which begins after all of them were asked for:
//! beginning and ending one costs as much as such a read.
//!
//! They are threads of the store and no pool's: a read is handed over with one wake-up, and there
//! are never more of them than there are connections, since each thread keeps memory of its own.
//! One is started when a read comes and all others are busy.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use accredit_domain::Fault;
use tokio::sync::oneshot;

use crate::driver::{Conn, Driver, DriverError};

/// Reads that wait for a thread. There are fewer requests at a time, but what one of them asked for
/// stays when its client has hung up.
pub(crate) const READS_WAITING_MAX: usize = 4_096;

/// Short reads that share a snapshot at most, so that none waits long for the others.
const READS_TOGETHER_MAX: usize = 8;

/// A read, with whom to answer.
struct Job {
    run: Box<dyn FnOnce(&mut Snapshot<'_>) + Send>,
    length: Length,
}

/// How long a read may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// A few rows by their keys.
    Short,
    /// Anything else.
    Any,
}

/// What is asked of a session before anything is read on it.
pub(crate) type Check = Arc<dyn Fn(&mut dyn Conn) -> Result<(), DriverError> + Send + Sync>;

/// The threads that read.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    most: usize,
}

struct Shared {
    driver: Arc<dyn Driver>,
    /// What is asked of a session that was made anew, where it may be another server's.
    check: Option<Check>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Reads that were ever asked for.
    asked: u64,
    /// Threads that wait for a read.
    idle: usize,
    threads: Vec<JoinHandle<Option<Box<dyn Conn>>>>,
    closed: bool,
}

impl Readers {
    /// At most so many threads, none of which is started yet.
    pub(crate) fn new(driver: Arc<dyn Driver>, readers: usize, check: Option<Check>) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { driver, check, state, wake }), most: readers.max(1) }
    }

    /// Runs `read` on one snapshot.
    pub(crate) async fn read<T, F>(
        &self,
        (operation, length): (&'static str, Length),
        read: F,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Conn) -> Result<T, DriverError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |snapshot: &mut Snapshot<'_>| {
            // Whoever no longer waits needs no answer.
            if !reply.is_closed() {
                drop(reply.send(snapshot.read(read)));
            }
        });
        self.push(Job { run, length }).map_err(|why| Fault::new(operation, why))?;
        match answer.await {
            Ok(result) => result.map_err(|error| error.fault(operation)),
            Err(_) => Err(Fault::new(operation, "the read was broken off")),
        }
    }

    fn push(&self, job: Job) -> Result<(), String> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err("the store is closed".to_owned());
        }
        if state.waiting.len() >= READS_WAITING_MAX {
            return Err("too many reads are waiting".to_owned());
        }
        state.waiting.push_back(job);
        state.asked += 1;
        if state.waiting.len() > state.idle && state.threads.len() < self.most {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("store-reader".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(thread) => state.threads.push(thread),
                // The others do it; without any, nobody would.
                Err(error) if state.threads.is_empty() => {
                    state.waiting.clear();
                    return Err(format!("no thread to read on: {error}"));
                }
                Err(error) => tracing::warn!(%error, "no further thread to read on"),
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// No more reads begin; those that run are waited for, and their connections closed.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // Dropping a read tells its caller that there is no answer.
        let (waiting, threads) =
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.threads));
        drop(state);
        drop(waiting);
        self.shared.wake.notify_all();
        // One connection is closed after the other: the last one to go moves the journal into the
        // store, and of two that go at once neither is the last.
        let left: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        for conn in left {
            // A panic in a read was caught; there is nothing else to panic.
            drop(conn);
        }
    }
}

impl Shared {
    /// A panic with the lock held would be one of the queue's, which leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the store is closed; what is left is the connection.
    fn run(&self) -> Option<Box<dyn Conn>> {
        let mut conn = Connection {
            driver: Arc::clone(&self.driver),
            check: self.check.clone(),
            open: None,
            checked: 0,
        };
        while let Some(jobs) = self.next() {
            let mut snapshot = Snapshot { conn: &mut conn, shared: self, begun: false, lost: None };
            for job in jobs {
                if snapshot.lost.is_some() {
                    // Dropping a read tells its caller that there is no answer.
                    continue;
                }
                if catch_unwind(AssertUnwindSafe(|| (job.run)(&mut snapshot))).is_err() {
                    tracing::error!("a read panicked");
                    snapshot.conn.open = None;
                    snapshot.begun = false;
                }
            }
            snapshot.end();
            if let Some(asked) = snapshot.lost {
                // They would each wait as long for the same answer; but not who asked later.
                let mut state = self.lock();
                let later = usize::try_from(state.asked - asked).unwrap_or(usize::MAX);
                let earlier = state.waiting.len().saturating_sub(later);
                drop(state.waiting.drain(..earlier));
            }
        }
        conn.open
    }

    /// The next reads; `None` once the store is closed. A share of what waits is left for the other
    /// threads.
    fn next(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if !state.waiting.is_empty() {
                let share = state.waiting.len().div_ceil(state.threads.len().max(1));
                let short = state.waiting.iter().take(share.min(READS_TOGETHER_MAX));
                let taken = short.take_while(|job| job.length == Length::Short).count();
                return Some(state.waiting.drain(..taken.max(1)).collect());
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

/// A thread's connection, opened when it is first needed.
struct Connection {
    driver: Arc<dyn Driver>,
    check: Option<Check>,
    open: Option<Box<dyn Conn>>,
    /// Which of its sessions was asked whether all is there; 0 for none.
    checked: u64,
}

/// What reads that waited together see. It begins with the first of them that is still waited for.
struct Snapshot<'c> {
    conn: &'c mut Connection,
    shared: &'c Shared,
    begun: bool,
    /// How many reads had been asked for when the engine was not there, or took too long.
    lost: Option<u64>,
}

impl Snapshot<'_> {
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut dyn Conn) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let value = self.read_on(read);
        // Before anybody is told.
        if matches!(value, Err(DriverError::Unavailable(_))) && self.lost.is_none() {
            self.lost = Some(self.shared.lock().asked);
        }
        value
    }

    fn read_on<T>(
        &mut self,
        read: impl FnOnce(&mut dyn Conn) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut conn = if let Some(conn) = self.conn.open.take() {
            conn
        } else {
            self.conn.checked = 0;
            self.conn.driver.reader()?
        };
        if !self.begun {
            conn.begin_read()?;
            if let Some(check) = &self.conn.check
                && self.conn.checked != conn.session()
            {
                check(&mut *conn)?;
                self.conn.checked = conn.session();
            }
            self.begun = true;
        }
        let value = read(&mut *conn);
        self.conn.open = Some(conn);
        if value.is_err() {
            // Nobody knows what became of the transaction.
            self.end();
        }
        value
    }

    /// Ends it. A connection that cannot end its snapshot is not used again.
    fn end(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        if let Some(conn) = self.conn.open.as_mut()
            && begun
            && let Err(error) = conn.rollback()
        {
            tracing::warn!(%error, "a connection is given up");
            self.conn.open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sqlite::SqliteDriver;
    use std::sync::mpsc;

    #[tokio::test]
    async fn reads_that_wait_are_bounded_and_those_nobody_waits_for_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = SqliteDriver::open(&folder.path().join("store.db")).expect("a store");
        let readers = Arc::new(Readers::new(Arc::new(driver), 1, None));
        let (go, wait) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel();
        let busy = tokio::spawn({
            let readers = Arc::clone(&readers);
            async move {
                let hold = move |_: &mut dyn Conn| {
                    began.send(()).expect("the test waits");
                    wait.recv().map_err(|error| DriverError::Failed(error.to_string()))
                };
                readers.read(("hold", Length::Any), hold).await
            }
        });
        while begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let (told, done) = mpsc::channel();
        for number in 0..READS_WAITING_MAX {
            let told = told.clone();
            let read = readers.read(("wait", Length::Any), move |_| {
                told.send(number).map_err(|error| DriverError::Failed(error.to_string()))
            });
            // Asked for once, and then hung up; the last one waits.
            let mut read = Box::pin(read);
            assert!(polled_once(read.as_mut()).await.is_none());
            if number + 1 == READS_WAITING_MAX {
                let fault = readers
                    .read(("one more", Length::Any), |_| Ok(()))
                    .await
                    .expect_err("too many");
                assert!(fault.to_string().contains("too many reads"), "{fault}");
                go.send(()).expect("the thread waits");
                read.await.expect("an answer");
                break;
            }
        }
        busy.await.expect("no panic").expect("held until now");
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [READS_WAITING_MAX - 1]);
        readers.close();
        assert!(readers.read(("late", Length::Any), |_| Ok(())).await.is_err());
    }

    /// Polls once.
    async fn polled_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
