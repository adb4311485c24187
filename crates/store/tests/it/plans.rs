//! Every list, with every filter and order, as the statements that are really run: SQLite answers
//! each from an index that begins with the organization and the filter, in the order of the page.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use accredit_domain::ports::{Log as _, Order, Page, Registry as _, Revocations as _};
use accredit_domain::registry::environment::Environment;
use accredit_store::driver::DriverError;
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqliteStore};
use accredit_wire::ids::{AgentId, OrganizationId, PersonId, ResourceId};

use crate::around::{Around, DriverAround, Step};

type Heard = Mutex<BTreeSet<&'static str>>;

/// Writes down what the readers ask for.
impl Around for Heard {
    fn reading<T>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if let Step::Query(sql) = step {
            self.lock().expect("what was heard").insert(sql);
        }
        run()
    }
}

/// A store in a new folder, and what is heard of its readers.
struct Stage {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    heard: Arc<Heard>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let heard = Arc::new(Heard::default());
        let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a database");
        let driver = Arc::new(DriverAround(driver, Arc::clone(&heard)));
        let store = SqliteStore::open_on(driver, &Options::default()).expect("a store");
        heard.lock().expect("what was heard").clear();
        Self { folder, store, heard }
    }

    /// The plans of the statements since the last time; demands that each seeks its first table
    /// with `index` by as many columns, and sorts nothing.
    #[track_caller]
    fn check(&self, what: &str, index: &str, by: &str) {
        let heard = std::mem::take(&mut *self.heard.lock().expect("what was heard"));
        assert!(!heard.is_empty(), "{what}: nothing was read");
        let file = self.folder.path().join("accredit.db");
        let conn = rusqlite::Connection::open(file).expect("the file");
        for sql in heard {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
            for parameter in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(parameter, "").expect("bound");
            }
            let (mut steps, mut rows) = (Vec::new(), statement.raw_query());
            while let Some(row) = rows.next().expect("a step") {
                steps.push(row.get::<_, String>(3).expect("text"));
            }
            let plan = steps.join("; ");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{what}: {plan}");
            let seeks = steps.first().is_some_and(|step| step.contains(index) && step.contains(by));
            assert!(seeks, "{what}: not by {index} {by}: {plan}");
        }
    }
}

fn page(order: Order) -> Page {
    Page { limit: 51, order, ..Page::default() }
}

#[tokio::test]
async fn every_list_is_answered_from_an_index_that_begins_with_its_filter() {
    let stage = Stage::new();
    let (store, org) = (&stage.store, OrganizationId::new(1, [1; 10]));
    let some = |state: &str| Some(state.to_owned());
    for order in [Order::Oldest, Order::Newest, Order::Name, Order::NameBackwards] {
        let (by_name, column) =
            (order.is_by_name(), if order.is_by_name() { "name" } else { "id" });
        let index = |plain: &'static str, named: &'static str| if by_name { named } else { plain };
        store.agents(org, page(order)).await.expect("a page");
        let own = index("PRIMARY KEY", "sqlite_autoindex_agent_2");
        stage.check("agents", own, &format!("(org=? AND {column}>?"));
        for state in ["draft", "active", "suspended"] {
            let page = Page { state: some(state), ..page(order) };
            store.agents(org, page).await.expect("a page");
            let index = index("agent_state ", "agent_state_name");
            stage.check(state, index, &format!("(org=? AND state=? AND {column}>?"));
        }
        let prod = Page { environment: Some(Environment::Prod), ..page(order) };
        let by = format!("(org=? AND environment=? AND {column}>?");
        for page in [prod.clone(), Page { state: some("active"), ..prod }] {
            store.agents(org, page).await.expect("a page");
            stage.check("environment", index("agent_environment ", "agent_environment_name"), &by);
        }
        for state in [None, some("suspended")] {
            let page = Page { state, ..page(order) };
            let by = if page.state.is_some() { "(org=? AND state=? AND " } else { "(org=? AND " };
            store.persons(org, page.clone()).await.expect("a page");
            stage.check("persons", "person", by);
            store.resources(org, page).await.expect("a page");
            stage.check("resources", "resource", by);
        }
    }
    let owner = Some(PersonId::new(1, [2; 10]));
    store.agents(org, Page { owner, ..page(Order::Oldest) }).await.expect("a page");
    stage.check("owner", "agent_owner", "(org=? AND owner=? AND id>?");
    for state in [None, some("active"), some("expired"), some("revoked")] {
        let plain = Page { state: state.clone(), ..page(Order::Oldest) };
        let (index, by) = match &state {
            None => ("PRIMARY KEY", "(org=? AND id>?"),
            Some(_) => ("_state", "(org=? AND state=? AND id>?"),
        };
        store.instances(org, plain.clone()).await.expect("a page");
        stage.check("instances", index, by);
        store.credentials(org, plain.clone()).await.expect("a page");
        stage.check("credentials", index, by);
        let of_agent = Page { agent: Some(AgentId::new(1, [3; 10])), ..plain.clone() };
        store.instances(org, of_agent.clone()).await.expect("a page");
        stage.check("an agent's instances", "instance_agent", "(org=? AND agent=? AND id>?");
        store.credentials(org, of_agent).await.expect("a page");
        stage.check("an agent's credentials", "credential_agent", "(org=? AND agent=? AND id>?");
        let of_resource = Page { resource: Some(ResourceId::new(1, [4; 10])), ..plain.clone() };
        store.credentials(org, of_resource).await.expect("a page");
        let by = "(org=? AND resource=? AND id>?";
        stage.check("a resource's credentials", "credential_resource", by);
        store.admin_keys(org, plain).await.expect("a page");
        stage.check("administrators' keys", "credential_admin", "(org=? AND id>?");
    }
    store.revocations(org, page(Order::Oldest)).await.expect("a page");
    stage.check("revocations", "PRIMARY KEY", "(org=? AND rev<?");
    for order in [Order::Oldest, Order::Newest] {
        let kinds = vec!["agent.created".to_owned()];
        store.leaves_of(org, 0, kinds, 0..9, (order, 50)).await.expect("a page");
        stage.check("events by type", "event_kind", "(org=? AND lane=? AND kind=? AND seq>?");
    }
    store.leaves(org, 0, 0, 50).await.expect("a page");
    stage.check("events", "sqlite_autoindex_event_1", "(org=? AND lane=? AND seq>?");
}
