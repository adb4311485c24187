//! A database whose readers write down what they are asked, for tests that count work.

use std::sync::{Arc, Mutex};

use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Driver, DriverError};

/// The questions, in their order.
pub type Asked = Arc<Mutex<Vec<&'static str>>>;

struct Noting(Asked);

impl Around for Noting {
    fn reading<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if let Step::Query(sql) = step {
            self.0.lock().expect("no thread panics with it").push(sql);
        }
        run()
    }
}

/// Around a driver: the questions of its readers are added to `asked`.
pub fn noting(driver: SqliteDriver, asked: Asked) -> Arc<dyn Driver> {
    Arc::new(DriverAround::new(Arc::new(driver), Arc::new(Noting(asked))))
}
