//! A server whose store syncs its commits, or does not: to show that the test of power cuts fails
//! where it should. Arguments: a folder, and SQLite's `synchronous`, `FULL` or `OFF`.
#![expect(clippy::expect_used, reason = "a fixture that cannot be built is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a process of its own, told by its arguments")]
#![expect(clippy::print_stdout, reason = "says where it is reached")]

use std::path::PathBuf;
use std::sync::Arc;

use accredit_server::serve::Listening;
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::driver::{Conn, Driver, DriverError};
use accredit_testkit::TestWorld;

/// The real driver with another `synchronous`.
struct Synchronous(SqliteDriver, &'static str);

impl Driver for Synchronous {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        let mut conn = self.0.writer()?;
        conn.script(self.1)?;
        Ok(conn)
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.0.reader()
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        self.0.migrations()
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let pragma = match args.next().expect("`FULL` or `OFF`").as_str() {
        "FULL" => "PRAGMA synchronous = FULL",
        "OFF" => "PRAGMA synchronous = OFF",
        other => panic!("`{other}` is neither `FULL` nor `OFF`"),
    };
    let wrap = |driver| Arc::new(Synchronous(driver, pragma)) as Arc<dyn Driver>;
    let world = TestWorld::on(&folder, 1, wrap).await;
    let org = world.found("dev").await;
    let address = "127.0.0.1:0".parse().expect("an address");
    let listening = Listening::bind(address, None).await.expect("a socket");
    let address = listening.address().expect("its address");
    let ready = serde_json::json!({
        "url": format!("http://{address}"),
        "issuer": org.issuer,
        "org": org.name,
        "admin_token": org.admin,
    });
    println!("{ready}");
    // Until it is killed: nobody tells it to stop.
    let (_told, stop) = tokio::sync::watch::channel(false);
    listening.serve(Arc::clone(&world.server), stop).await;
}
