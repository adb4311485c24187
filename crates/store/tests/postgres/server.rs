//! The databases of these tests, all of them on one server.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use tokio_postgres::{Config, NoTls};

use crate::cluster;

static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| cluster::start_with(&["-c", "listen_addresses="], &|_| {}));
/// Databases are made one at a time: two at once would wait for the template.
static MAKING: Mutex<()> = Mutex::new(());

/// The database that is called like a folder, made where there is none.
pub(crate) fn database_of(folder: &tempfile::TempDir) -> Config {
    let name = folder.path().file_name().and_then(|name| name.to_str()).expect("a name");
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (server, made) = (config("postgres"), name.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (client, connection) = server.connect(NoTls).await.expect("the server");
            tokio::spawn(connection);
            let there = client
                .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&made])
                .await
                .expect("an answer");
            if there.is_none() {
                let sql = format!("CREATE DATABASE \"{made}\" TEMPLATE template0");
                client.batch_execute(&sql).await.expect("a database");
            }
        });
    })
    .join()
    .expect("made");
    config(&name)
}

/// The URL of the database that is called like a folder.
pub(crate) fn url_of(folder: &tempfile::TempDir) -> String {
    let name = folder.path().file_name().and_then(|name| name.to_str()).expect("a name");
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
    format!("postgres://accredit@/{name}?host={}", FOLDER.display())
}

fn config(database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&*FOLDER).user("accredit").dbname(database);
    config
}
