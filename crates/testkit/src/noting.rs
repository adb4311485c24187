//! A database whose readers write down what they are asked, for tests that count work.

use std::sync::{Arc, Mutex};

use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Conn, Driver, DriverError, EachRow, Value};

/// The questions, in their order.
pub type Asked = Arc<Mutex<Vec<&'static str>>>;

/// A driver whose readers write down what they are asked.
pub struct Noting(SqliteDriver, Asked);

impl Noting {
    /// Around a driver; the questions are added to `asked`.
    pub fn new(driver: SqliteDriver, asked: Asked) -> Self {
        Self(driver, asked)
    }
}

struct NotingConn(Box<dyn Conn>, Asked);

impl Driver for Noting {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.0.writer()
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        Ok(Box::new(NotingConn(self.0.reader()?, Arc::clone(&self.1))))
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.0.migrations()
    }
}

impl Conn for NotingConn {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.0.execute(sql, params)
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        self.1.lock().expect("no thread panics with it").push(sql);
        self.0.query(sql, params, each)
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.0.script(sql)
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.0.begin_write()
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.0.begin_read()
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.0.commit()
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        self.0.rollback()
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.0.savepoint()
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.0.release()
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        self.0.undo()
    }

    fn in_transaction(&self) -> bool {
        self.0.in_transaction()
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        self.0.checkpoint()
    }
}
