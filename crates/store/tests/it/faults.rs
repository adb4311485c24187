//! A driver that fails before its n-th statement: after each failure all of a write is there, or
//! nothing, and the store goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use accredit_domain::keys::KeyPurpose;
use accredit_domain::ports::{Lookup, Page, Registry as _, Revocations as _, Row};
use accredit_store::driver::DriverError;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqlStore};
use accredit_wire::ids::{AnyId, OrganizationId};

use crate::given::{
    NOW, agent, commit, found_organization, issue, person, revocation, signing_key, single_use,
};
use crate::log::check_chain;

/// Statements of the writer that still succeed; below zero, all do.
#[derive(Default)]
struct Fuse {
    left: AtomicI64,
    blown: AtomicI64,
}

impl Fuse {
    fn set(&self, statements: i64) {
        self.blown.store(0, Ordering::SeqCst);
        self.left.store(statements, Ordering::SeqCst);
    }

    /// Fails once, when nothing is left; then all goes well again.
    fn burn(&self) -> Result<(), DriverError> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            0 => {
                self.blown.store(1, Ordering::SeqCst);
                Err(DriverError::Failed("the disk is gone".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst) == 1
    }
}

impl Around for Fuse {
    fn writing<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if !matches!(step, Step::BeginRead | Step::Checkpoint) {
            self.burn()?;
        }
        run()
    }
}

struct Faulty {
    store: Arc<SqlStore>,
    fuse: Arc<Fuse>,
    org: OrganizationId,
    agent: AnyId,
    _folder: tempfile::TempDir,
}

async fn faulty() -> Faulty {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a driver");
    let fuse = Arc::new(Fuse::default());
    fuse.set(-1);
    let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&fuse)));
    let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
    let org = found_organization(&store, "dev").await;
    let bot = agent("bot", None);
    let id = bot.id.any();
    commit(&store, org, vec![Row::Agent(bot)], None).await.expect("committed");
    Faulty { store, fuse, org, agent: id, _folder: folder }
}

/// What a write leaves behind, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    leaves: usize,
    persons: usize,
    agents: usize,
    keys: usize,
    rev: u64,
    entries: usize,
}

impl Faulty {
    async fn counted(&self) -> Counted {
        let (store, org) = (&self.store, self.org);
        let page = Page { limit: 1000, ..Page::default() };
        let found = store.organization(Lookup::Id(org)).await.expect("read").expect("there");
        Counted {
            leaves: check_chain(store, org).await.len(),
            persons: store.persons(org, page.clone()).await.expect("listed").items.len(),
            agents: store.agents(org, page).await.expect("listed").items.len(),
            keys: store.signing_keys(org).await.expect("read").len(),
            rev: found.rev,
            entries: store.revocations_after(org, 0, NOW).await.expect("read").len(),
        }
    }

    /// Fails `write` before its first statement, its second, and so on until it succeeds; after
    /// each, either nothing of it is there or, where it said yes, `added` is.
    async fn check_each<F>(&self, write: F, added: impl Fn(Counted) -> Counted)
    where
        F: AsyncFn(&Self, u64) -> bool,
    {
        for statement in 0.. {
            let before = self.counted().await;
            self.fuse.set(statement);
            let said_yes = write(self, statement as u64).await;
            let blown = self.fuse.blown();
            self.fuse.set(-1);
            let after = self.counted().await;
            let expected = if said_yes { added(before) } else { before };
            assert_eq!(after, expected, "a fault before statement {statement}");
            if !blown {
                assert!(said_yes && statement > 3, "without a fault it is written");
                return;
            }
            assert!(!said_yes, "a fault before statement {statement} is not hidden");
            assert!(statement < 100, "a write has fewer statements");
        }
    }
}

#[tokio::test]
async fn an_issuance_is_recorded_whole_or_not_at_all() {
    let faulty = faulty().await;
    let write = async |faulty: &Faulty, n: u64| {
        let value = single_use(faulty.agent, n as u8);
        issue(&faulty.store, faulty.org, vec![faulty.agent], 0, Some(value)).await.is_ok()
    };
    faulty.check_each(write, |before| Counted { leaves: before.leaves + 1, ..before }).await;
    // What failed did not use up its proof either.
    let value = single_use(faulty.agent, 0);
    issue(&faulty.store, faulty.org, vec![faulty.agent], 0, Some(value)).await.expect("fresh");
}

#[tokio::test]
async fn an_agent_with_a_new_owner_is_registered_whole_or_not_at_all() {
    let faulty = faulty().await;
    let write = async |faulty: &Faulty, n: u64| {
        let owner = person(&format!("p{n}@example.com"));
        let bot = agent(&format!("bot-{n}"), Some(&owner));
        let rows = vec![Row::Person(owner), Row::Agent(bot)];
        commit(&faulty.store, faulty.org, rows, None).await.is_ok()
    };
    let added = |before: Counted| Counted {
        leaves: before.leaves + 1,
        persons: before.persons + 1,
        agents: before.agents + 1,
        ..before
    };
    faulty.check_each(write, added).await;
}

#[tokio::test]
async fn a_revocation_is_written_whole_or_not_at_all() {
    let faulty = faulty().await;
    let write = async |faulty: &Faulty, _| {
        let rows = vec![Row::Key(signing_key(faulty.org, KeyPurpose::Token))];
        commit(&faulty.store, faulty.org, rows, Some(revocation(faulty.agent))).await.is_ok()
    };
    let added = |before: Counted| Counted {
        leaves: before.leaves + 1,
        keys: before.keys + 1,
        rev: before.rev + 1,
        entries: before.entries + 1,
        ..before
    };
    faulty.check_each(write, added).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_answers_all_and_the_next_batch_goes_on() {
    let faulty = faulty().await;
    let mut recorded = 0;
    for statement in 0..60 {
        faulty.fuse.set(statement);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (store, org, agent) = (Arc::clone(&faulty.store), faulty.org, faulty.agent);
                tokio::spawn(async move { issue(&store, org, vec![agent], 0, None).await.is_ok() })
            })
            .collect();
        for task in tasks {
            recorded += usize::from(task.await.expect("answered"));
        }
        faulty.fuse.set(-1);
        let leaves = check_chain(&faulty.store, faulty.org).await;
        let issued = leaves.iter().filter(|leaf| leaf.kind == "token.issued").count();
        assert_eq!(issued, recorded, "as many leaves as were answered yes");
    }
    assert!(recorded < 60 * 20, "some of them met a fault");
}
