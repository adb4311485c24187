//! PostgreSQL, or whatever speaks its protocol: the same statements on a server of its own.
//!
//! The store's threads block on their connections, so each call waits here for the answer; what
//! speaks to the server is the driver's own runtime. A connection that is lost is made anew when
//! the next transaction begins, never inside of one. A statement that fails inside a transaction
//! spoils it up to the last savepoint: such a transaction is never committed, though the server
//! would answer that wish with a rollback and no error.
//!
//! Absent on purpose: a pool (each of the store's threads has its connection), settings of a
//! session, advisory locks, and anything that only one engine of this protocol has.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::{TryStreamExt as _, future};
use hashbrown::HashMap;
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Config, Error, Statement};

use super::added::{Added, Texts};
use super::target::Target;
use super::tls::{Connector, Trust};
use super::waking::{self, Wakes};
use super::{Conn, DiskTrouble, Driver, DriverError, EachRow, Hold, Row, Value, numbered};

/// How long one statement may take. What takes longer is cancelled and given up with its connection.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a transaction that holds something may stand still. What a process that was stopped in the
/// middle of one holds is let go then, and when it goes on, nothing of that transaction happened.
pub const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(2);
/// How long one migration may take: an index over all there is.
pub const MIGRATION_TIME_MAX: Duration = Duration::from_hours(1);
/// How long a migration waits for a table that others use, before it lets them pass and tries again.
pub const MIGRATION_LOCK_TIME_MAX: Duration = Duration::from_secs(1);
/// How long it may take to get a connection from one of the servers.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long it may take to find the one that takes writes.
const FIND_TIME_MAX: Duration = Duration::from_secs(10);

/// How writing transactions are kept apart. What the store promises holds under each: engines that are
/// designed for have the stricter ones alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    #[default]
    ReadCommitted,
    /// All statements see one state.
    RepeatableRead,
    /// As if one came after the other.
    Serializable,
}

impl Isolation {
    const fn begin(self) -> &'static str {
        match self {
            Self::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE",
            Self::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE",
            Self::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE",
        }
    }
}

/// A database on a server.
pub struct PostgresDriver {
    isolation: Isolation,
    config: Config,
    connector: Connector,
    speaker: Arc<Speaker>,
    timeline: Arc<Mutex<Option<String>>>,
    wakes: Arc<Wakes>,
}

/// What speaks to the server, for as long as there is a connection.
struct Speaker(Option<Runtime>);

impl Speaker {
    fn handle(&self) -> Result<&Handle, DriverError> {
        let runtime = self.0.as_ref().map(Runtime::handle);
        runtime.ok_or_else(|| DriverError::Failed("the store is closed".to_owned()))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever drops this may be a task of another runtime, which must not wait.
            runtime.shutdown_background();
        }
    }
}

impl PostgresDriver {
    /// The database of a target. Nothing is connected yet.
    pub fn at(target: &Target) -> Result<Self, DriverError> {
        Self::with(target.config(), target.connector()?)
    }

    /// The database that `config` names, on this machine. Nothing is connected yet.
    pub fn new(config: Config) -> Result<Self, DriverError> {
        Self::with(config, Connector::new(Trust::NoTls)?)
    }

    fn with(config: Config, connector: Connector) -> Result<Self, DriverError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|error| DriverError::Failed(format!("no thread for the store: {error}")))?;
        let speaker = Arc::new(Speaker(Some(runtime)));
        let (isolation, timeline, wakes) = (Isolation::default(), Arc::default(), Arc::default());
        Ok(Self { isolation, config, connector, speaker, timeline, wakes })
    }

    /// The same, with writing transactions that are kept apart so.
    #[must_use]
    pub fn isolated(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    fn connect(&self, reads: bool) -> Result<Box<dyn Conn>, DriverError> {
        let (config, connector) = (self.config.clone(), self.connector.clone());
        let (speaker, timeline) = (Arc::clone(&self.speaker), Arc::clone(&self.timeline));
        let wakes = Arc::clone(&self.wakes);
        let server = Server { config, connector, reads, speaker, timeline, wakes };
        let (state, added, begin) = (State::Outside, Added::default(), self.isolation.begin());
        let is_in_doubt = false;
        let mut conn =
            PostgresConn { server, begin, open: None, state, sessions: 0, is_in_doubt, added };
        conn.current()?;
        Ok(Box::new(conn))
    }
}

impl Driver for PostgresDriver {
    fn writer(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.connect(false)
    }

    fn reader(&self) -> Result<Box<dyn Conn>, DriverError> {
        self.connect(true)
    }

    fn migrations(&self) -> &'static [(i64, &'static str, &'static str)] {
        numbered::POSTGRES
    }

    fn listen(&self) -> Option<Arc<Wakes>> {
        let from = (self.config.clone(), self.connector.clone());
        self.wakes.begin(self.speaker.handle().ok()?, from);
        Some(Arc::clone(&self.wakes))
    }
}

/// Where connections come from.
struct Server {
    config: Config,
    connector: Connector,
    /// Whether its connections only read.
    reads: bool,
    speaker: Arc<Speaker>,
    /// Which of the server's histories was seen last, where it has such.
    timeline: Arc<Mutex<Option<String>>>,
    wakes: Arc<Wakes>,
}

impl Server {
    fn connect(&self) -> Result<Session, DriverError> {
        let runtime = self.speaker.handle()?;
        let _inside = runtime.enter();
        let connected = wait(self.config.connect(self.connector.clone()), FIND_TIME_MAX)?;
        let (client, connection) = connected.map_err(failed)?;
        runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the store was lost");
            }
        });
        let mut session = Session::new(client);
        if let Err(error) = session.command(BY_INDEX, STATEMENT_TIME_MAX) {
            session.is_there()?;
            tracing::debug!(%error, "the server plans as it thinks best");
        }
        if self.reads {
            // Not asked for while connecting: of several servers none would seem to take writes.
            session.command(READ_ONLY, STATEMENT_TIME_MAX)?;
        } else {
            let most = IDLE_IN_TRANSACTION_MAX.as_millis();
            let sql = format!("SET idle_in_transaction_session_timeout = {most}");
            session.command(&sql, STATEMENT_TIME_MAX)?;
            self.look_at_timeline(&mut session);
        }
        Ok(session)
    }

    /// Says where a standby has taken the place of the primary. It is a hint for people: whether that
    /// has lost anything is found by what this node remembers, on every engine.
    fn look_at_timeline(&self, session: &mut Session) {
        let Ok(statement) = session.prepared(TIMELINE) else { return };
        let Ok(Ok(row)) = wait(session.client.query_one(&statement, &[]), STATEMENT_TIME_MAX)
        else {
            return;
        };
        let Ok(now) = row.try_get::<_, String>(0) else { return };
        let mut seen = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = seen.as_deref().filter(|before| *before != now) {
            tracing::warn!(
                before,
                now,
                "a standby took the place of the database's primary: unless it was a synchronous one, \
                 what was answered last may be lost"
            );
        }
        *seen = Some(now);
    }

    /// Gives a session up, with whatever the server still does for it.
    fn give_up(&self, session: Session) {
        if session.client.is_closed() {
            return;
        }
        let (token, connector) = (session.client.cancel_token(), self.connector.clone());
        if let Ok(runtime) = self.speaker.handle() {
            runtime.spawn(async move {
                let cancelled = tokio::time::timeout(FIND_TIME_MAX, token.cancel_query(connector));
                if !matches!(cancelled.await, Ok(Ok(()))) {
                    tracing::warn!("a statement that took too long could not be cancelled");
                }
            });
        }
    }
}

/// On which of its histories a server is; it begins a new one when it is promoted.
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// Statements go along the indexes that were made for them, as they do in a file. What the server would
/// think best instead it guesses from bounds that are always there and mostly sieve nothing: a page of a
/// list is a sort of the whole table then. An engine that has no such settings plans as it does.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_sort = off; SET enable_hashjoin = off; \
                        SET enable_mergejoin = off; SET max_parallel_workers_per_gather = 0; SET jit = off";

/// What makes a session one that only reads.
const READ_ONLY: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";

/// A connection while it lasts, and what the server has prepared on it.
struct Session {
    client: Client,
    prepared: HashMap<&'static str, Statement, foldhash::fast::RandomState>,
    /// Statements that add several rows, by that of one and their number.
    adding: HashMap<(&'static str, usize), Statement, foldhash::fast::RandomState>,
    texts: Texts,
}

impl Session {
    fn new(client: Client) -> Self {
        let (prepared, adding) = (HashMap::default(), HashMap::default());
        Self { client, prepared, adding, texts: Texts::default() }
    }

    /// Adds rows that waited. One way there and back for all of them, once their statements are known.
    fn add(&mut self, added: &Added) -> Result<(), DriverError> {
        let sql = added.sql();
        for (rows, _) in added.parts() {
            if !self.adding.contains_key(&(sql, rows)) {
                let prepared = self.client.prepare(self.texts.of(sql, rows)?);
                let statement = wait(prepared, STATEMENT_TIME_MAX)?.map_err(failed)?;
                self.adding.insert((sql, rows), statement);
            }
        }
        let parts: Vec<_> = added.parts().collect();
        let statements = parts.iter().map(|(rows, values)| {
            let known = self.adding.get(&(sql, *rows)).cloned();
            async {
                let Some(statement) = known else { return Ok(0) };
                self.client.execute_raw(&statement, given(values)).await
            }
        });
        let done = wait(future::try_join_all(statements), STATEMENT_TIME_MAX)?;
        done.map(drop).map_err(failed).map_err(|error| match error {
            // Its place is taken by what was committed since it was given one.
            DriverError::Unique(column) => {
                DriverError::Conflict(format!("another row has the same `{column}`"))
            }
            other => other,
        })
    }

    fn prepared(&mut self, sql: &'static str) -> Result<Statement, DriverError> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = wait(self.client.prepare(sql), STATEMENT_TIME_MAX)?.map_err(failed)?;
        self.prepared.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Fails where it is known to be lost.
    fn is_there(&mut self) -> Result<(), DriverError> {
        if self.client.is_closed() { Err(lost()) } else { Ok(()) }
    }

    fn command(&mut self, sql: &str, most: Duration) -> Result<(), DriverError> {
        wait(self.client.batch_execute(sql), most)?.map_err(failed)
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In no transaction.
    Outside,
    /// In one that can be committed.
    Inside,
    /// In one of which a statement failed.
    Spoilt,
}

struct PostgresConn {
    server: Server,
    /// What a writing transaction begins with.
    begin: &'static str,
    open: Option<Session>,
    state: State,
    /// How many sessions there were.
    sessions: u64,
    /// The server was asked for the last commit.
    is_in_doubt: bool,
    /// Rows of the transaction that the server was not told of yet.
    added: Added,
}

impl PostgresConn {
    /// Does something on the session, after the rows that wait were added.
    fn after_rows<T>(
        &mut self,
        act: impl FnOnce(&mut Session) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if !self.added.is_empty() {
            let added = std::mem::take(&mut self.added);
            self.on_session(|session| session.add(&added))?;
        }
        self.on_session(act)
    }

    /// The session, made anew where it was lost and no transaction depends on it.
    fn current(&mut self) -> Result<&mut Session, DriverError> {
        if self.state == State::Outside
            && self.open.as_ref().is_some_and(|it| it.client.is_closed())
        {
            self.open = None;
        }
        match &mut self.open {
            Some(session) => Ok(session),
            open if self.state == State::Outside => {
                self.sessions += 1;
                Ok(open.insert(self.server.connect()?))
            }
            _ => Err(lost()),
        }
    }

    /// Does something on the session; a failure spoils the transaction, and one of which nobody
    /// knows how it ended gives up the session.
    fn on_session<T>(
        &mut self,
        act: impl FnOnce(&mut Session) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if self.state == State::Spoilt {
            return Err(DriverError::Failed("the transaction has failed before".to_owned()));
        }
        let done = self.current().and_then(act);
        if let Err(error) = &done {
            self.spoil(error);
        }
        done
    }

    fn spoil(&mut self, error: &DriverError) {
        if self.state == State::Inside {
            self.state = State::Spoilt;
        }
        // A server that was the primary takes no writes: the next session looks for the new one.
        let elsewhere = matches!(
            error,
            DriverError::Unavailable(_) | DriverError::Disk(DiskTrouble::ReadOnly, _)
        );
        if elsewhere && let Some(session) = self.open.take() {
            self.server.give_up(session);
        }
    }

    fn begin(&mut self, sql: &str) -> Result<(), DriverError> {
        if self.state != State::Outside {
            return Err(DriverError::Failed("a transaction is under way already".to_owned()));
        }
        let was_open = self.open.is_some();
        let begin = |session: &mut Session| {
            let begun = wait(session.client.batch_execute(sql), STATEMENT_TIME_MAX)?;
            match begun {
                Err(error) if session.client.is_closed() || ends_session(&error) => Ok(false),
                begun => begun.map(|()| true).map_err(failed),
            }
        };
        let mut begun = self.on_session(begin)?;
        if !begun && was_open {
            // It was lost while nobody used it, and nothing has begun.
            self.open = None;
            begun = self.on_session(begin)?;
        }
        if !begun {
            let why = "the connection to the store is lost again and again";
            return Err(DriverError::Unavailable(why.to_owned()));
        }
        self.state = State::Inside;
        Ok(())
    }
}

impl Conn for PostgresConn {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, DriverError> {
        self.after_rows(|session| {
            let statement = session.prepared(sql)?;
            let changed = session.client.execute_raw(&statement, given(params));
            let changed = wait(changed, STATEMENT_TIME_MAX)?.map_err(failed)?;
            usize::try_from(changed).map_err(|error| DriverError::Failed(error.to_string()))
        })
    }

    fn add(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<(), DriverError> {
        if self.state != State::Inside {
            return self.execute(sql, params).map(drop);
        }
        if !self.added.takes(sql, params.len()) {
            self.after_rows(|_| Ok(()))?;
        }
        self.added.push(sql, params);
        Ok(())
    }

    fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut EachRow<'_>,
    ) -> Result<(), DriverError> {
        let asked = if self.server.reads { without_nul(params) } else { None };
        let asked: Option<Vec<_>> = asked.as_ref().map(|texts| {
            let given = params.iter().zip(texts);
            given.map(|(value, text)| text.as_ref().map_or(*value, Value::from)).collect()
        });
        let params = asked.as_deref().unwrap_or(params);
        self.after_rows(|session| {
            let statement = session.prepared(sql)?;
            let rows = session.client.query_raw(&statement, given(params));
            let mut rows = pin!(wait(rows, STATEMENT_TIME_MAX)?.map_err(failed)?);
            while let Some(row) = wait(rows.try_next(), STATEMENT_TIME_MAX)?.map_err(failed)? {
                each(&PostgresRow(row))?;
            }
            Ok(())
        })
    }

    fn script(&mut self, sql: &str) -> Result<(), DriverError> {
        self.after_rows(|session| session.command(sql, MIGRATION_TIME_MAX))
    }

    fn end_rows(&mut self) -> Result<(), DriverError> {
        self.after_rows(|_| Ok(()))
    }

    fn analyze(&mut self, table: &'static str) -> Result<(), DriverError> {
        self.script(&format!("ANALYZE \"{table}\""))
    }

    fn begin_write(&mut self) -> Result<(), DriverError> {
        self.begin(self.begin)
    }

    fn begin_migration(&mut self) -> Result<(), DriverError> {
        self.begin_write()?;
        let sql = format!("SET LOCAL lock_timeout = {}", MIGRATION_LOCK_TIME_MAX.as_millis());
        self.on_session(|session| session.command(&sql, STATEMENT_TIME_MAX))
    }

    fn begin_read(&mut self) -> Result<(), DriverError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    }

    fn commit(&mut self) -> Result<(), DriverError> {
        self.is_in_doubt = false;
        if self.state == State::Spoilt {
            self.rollback()?;
            return Err(DriverError::Failed(
                "a transaction that failed is not committed".to_owned(),
            ));
        }
        // Up to here nothing of it can have happened.
        self.after_rows(Session::is_there)?;
        self.is_in_doubt = true;
        let done = self.on_session(|session| session.command("COMMIT", STATEMENT_TIME_MAX));
        if done.is_err() {
            // Whether it happened is found out on another session.
            self.open = None;
        }
        self.state = State::Outside;
        done
    }

    fn rollback(&mut self) -> Result<(), DriverError> {
        self.added.clear();
        if self.state == State::Outside {
            return Ok(());
        }
        self.state = State::Outside;
        let Some(session) = &mut self.open else { return Ok(()) };
        if session.command("ROLLBACK", STATEMENT_TIME_MAX).is_err() {
            // It ends with its session.
            self.open = None;
        }
        Ok(())
    }

    fn savepoint(&mut self) -> Result<(), DriverError> {
        self.after_rows(|session| session.command("SAVEPOINT member", STATEMENT_TIME_MAX))
    }

    fn release(&mut self) -> Result<(), DriverError> {
        self.on_session(|session| session.command("RELEASE SAVEPOINT member", STATEMENT_TIME_MAX))
    }

    fn undo(&mut self) -> Result<(), DriverError> {
        // Those from before were added when this part began.
        self.added.clear();
        self.state = State::Inside;
        self.on_session(|session| {
            let undo = "ROLLBACK TO SAVEPOINT member; RELEASE SAVEPOINT member";
            session.command(undo, STATEMENT_TIME_MAX)
        })
    }

    fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    fn in_transaction(&self) -> bool {
        // Also where it was lost with its session: the next statement says so.
        self.state != State::Outside
    }

    fn hold(&mut self, what: Hold<'_>) -> Result<(), DriverError> {
        // By itself: a statement that reads more would read that as it was before the wait.
        let held = match what {
            Hold::Organization(org) => {
                self.execute("SELECT 1 FROM organization WHERE org = $1 FOR UPDATE", &[org.into()])
            }
            Hold::Lanes(org) => self.execute(
                "SELECT 1 FROM lane WHERE org = $1 ORDER BY lane FOR UPDATE",
                &[org.into()],
            ),
            Hold::Lane(org, lane) => self.execute(
                "SELECT 1 FROM lane WHERE org = $1 AND lane = $2 FOR UPDATE",
                &[org.into(), lane.into()],
            ),
        };
        held.map(drop)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn wake(&mut self) -> Result<(), DriverError> {
        if !self.server.wakes.is_known() {
            return Ok(());
        }
        self.after_rows(|session| session.command(waking::NOTIFY, STATEMENT_TIME_MAX))
    }

    fn others(&mut self) -> Result<Option<u64>, DriverError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'accredit' \
                   AND datname = current_database() AND pid <> pg_backend_pid()";
        match self.on_session(|session| {
            let statement = session.prepared(sql)?;
            let row = wait(session.client.query_one(&statement, &[]), STATEMENT_TIME_MAX)?;
            row.map_err(failed)?
                .try_get::<_, i64>(0)
                .map_err(|error| DriverError::unreadable(0, error))
        }) {
            Ok(count) => Ok(u64::try_from(count).ok()),
            Err(DriverError::Failed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn session(&self) -> u64 {
        self.sessions
    }

    fn checkpoint(&mut self) -> Result<u64, DriverError> {
        Ok(0)
    }
}

/// What a text with U+0000 in it is asked as. The server takes none, so no row has one, and the
/// question is to be answered with "nothing" as elsewhere and not with an error: no name and no id has
/// the next character in it either, and between the two there is no place in any order. What is written
/// is never changed so; it is refused by the server.
fn without_nul(params: &[Value<'_>]) -> Option<Vec<Option<String>>> {
    let plain = |value: &Value<'_>| match value {
        Value::Text(text) if text.contains('\0') => Some(text.replace('\0', "\u{1}")),
        Value::Null | Value::Int(_) | Value::Text(_) | Value::Blob(_) => None,
    };
    let texts: Vec<_> = params.iter().map(plain).collect();
    texts.iter().any(Option::is_some).then_some(texts)
}

fn given<'v>(params: &'v [Value<'v>]) -> impl ExactSizeIterator<Item = &'v (dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync))
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => match *ty {
                Type::INT8 => number.to_sql(ty, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
                Type::INT2 => i16::try_from(*number)?.to_sql(ty, out),
                _ => Err(mismatch("a number", ty)),
            },
            Self::Text(text) => match *ty {
                Type::TEXT | Type::VARCHAR | Type::UNKNOWN => text.to_sql(ty, out),
                _ => Err(mismatch("text", ty)),
            },
            Self::Blob(bytes) => match *ty {
                Type::BYTEA => bytes.to_sql(ty, out),
                _ => Err(mismatch("bytes", ty)),
            },
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8
                | Type::INT4
                | Type::INT2
                | Type::TEXT
                | Type::VARCHAR
                | Type::UNKNOWN
                | Type::BYTEA
        )
    }

    to_sql_checked!();
}

fn mismatch(given: &str, wanted: &Type) -> Box<dyn std::error::Error + Sync + Send> {
    format!("{given} was given where the statement takes {wanted}").into()
}

struct PostgresRow(tokio_postgres::Row);

impl PostgresRow {
    fn kind(&self, column: usize) -> Result<&Type, DriverError> {
        let found = self.0.columns().get(column).map(tokio_postgres::Column::type_);
        found.ok_or_else(|| DriverError::unreadable(column, "there is no such column"))
    }
}

impl Row for PostgresRow {
    fn opt_int(&self, column: usize) -> Result<Option<i64>, DriverError> {
        let kind = self.kind(column)?;
        let read = match *kind {
            Type::INT4 => self.0.try_get::<_, Option<i32>>(column).map(|it| it.map(i64::from)),
            Type::BOOL => self.0.try_get::<_, Option<bool>>(column).map(|it| it.map(i64::from)),
            _ => self.0.try_get(column),
        };
        read.map_err(|error| DriverError::unreadable(column, error))
    }

    fn opt_text(&self, column: usize) -> Result<Option<&str>, DriverError> {
        self.0.try_get(column).map_err(|error| DriverError::unreadable(column, error))
    }

    fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, DriverError> {
        self.0.try_get(column).map_err(|error| DriverError::unreadable(column, error))
    }
}

/// An error in words that hold no parameter's value: the server's detail does.
fn failed(error: Error) -> DriverError {
    let Some(told) = error.as_db_error() else { return unanswered(&error) };
    let text = || format!("{} (SQLSTATE {})", told.message(), told.code().code());
    match *told.code() {
        SqlState::UNIQUE_VIOLATION => {
            // `Key (org, email)=(…) already exists.`, in whatever language.
            let columns = told.detail().and_then(|detail| detail.split(['(', ')']).nth(1));
            let column = columns.and_then(|columns| columns.rsplit(", ").next());
            DriverError::Unique(column.unwrap_or_default().to_owned())
        }
        SqlState::DISK_FULL => DriverError::Disk(DiskTrouble::Full, text()),
        SqlState::READ_ONLY_SQL_TRANSACTION => DriverError::Disk(DiskTrouble::ReadOnly, text()),
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE => DriverError::Conflict(text()),
        _ if GOING_AWAY.iter().any(|class| told.code().code().starts_with(class)) => {
            DriverError::Unavailable(text())
        }
        _ => DriverError::Failed(text()),
    }
}

/// SQLSTATE classes of a server that is not there for us: connection exceptions, too many
/// connections, shut down or starting up, cancelled, and a session that was ended since its
/// transaction stood still.
const GOING_AWAY: [&str; 5] = ["08", "53300", "57P", "57014", "25P03"];

/// Whether the server says that it has ended the session: it may be heard of before its end is.
fn ends_session(error: &Error) -> bool {
    let code = error.as_db_error().map(|told| told.code().code());
    code.is_some_and(|code| code.starts_with("57P") || code == "25P03")
}

fn lost() -> DriverError {
    DriverError::Unavailable("the connection to the store was lost".to_owned())
}

/// An error that no server has told.
fn unanswered(error: &Error) -> DriverError {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    // A parameter's value is in none of these but one, which is a fault of the program.
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    if error.is_closed()
        || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
    {
        return DriverError::Unavailable(text);
    }
    DriverError::Failed(text)
}

/// Wakes a thread that waits for an answer.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is done, for `most` at the longest.
///
/// Unlike a runtime's own, it may be called from any thread: what it waits for is done by another. So
/// it may be within a task of some runtime, whose budget of things that are ready is not this future's:
/// it is never refilled here.
#[expect(clippy::disallowed_methods, reason = "the length of a wait")]
fn wait<F: Future>(future: F, most: Duration) -> Result<F::Output, DriverError> {
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let began = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        let Some(left) = most.checked_sub(began.elapsed()) else {
            let why = format!("the server has not answered within {} s", most.as_secs());
            return Err(DriverError::Unavailable(why));
        };
        std::thread::park_timeout(left);
    }
}
