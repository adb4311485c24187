//! What the writer's thread and the callers of the store share.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use accredit_domain::Fault;
use accredit_domain::ports::Observer;
use tokio::sync::Semaphore;

use crate::cache::Stamps;
use crate::driver::{Conn, Driver, DriverError};
use crate::member::Member;
use crate::queue::Queue;
use crate::writer::Counters;

/// Shared between the writer and everybody else.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Member>,
    pub(crate) stamps: Stamps,
    pub(crate) observers: RwLock<Vec<Arc<dyn Observer>>>,
    pub(crate) stats: Counters,
    pub(crate) linger: Duration,
}

/// Connections that read, each used by one read at a time.
pub(crate) struct Readers {
    driver: Arc<dyn Driver>,
    idle: Mutex<Vec<Box<dyn Conn>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(driver: Arc<dyn Driver>, readers: usize) -> Self {
        let permits = Arc::new(Semaphore::new(readers.max(1)));
        Self { driver, idle: Mutex::new(Vec::new()), permits }
    }

    /// Runs `read` on a thread that may block, on one snapshot that ends with it.
    pub(crate) async fn read<T, F>(
        self: &Arc<Self>,
        operation: &'static str,
        read: F,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Conn) -> Result<T, DriverError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Fault::new(operation, "the store is closed"))?;
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = readers.with_conn(read);
            drop(permit);
            result
        });
        match task.await {
            Ok(result) => result.map_err(|error| error.fault(operation)),
            Err(_) => Err(Fault::new(operation, "the read was broken off")),
        }
    }

    /// No more reads begin.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn with_conn<T>(
        &self,
        read: impl FnOnce(&mut dyn Conn) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => self.driver.reader()?,
        };
        conn.begin_read()?;
        let value = read(&mut *conn);
        // A connection that cannot end its snapshot is not used again.
        conn.rollback()?;
        if !self.permits.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
        value
    }
}
