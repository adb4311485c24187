//! Every list, with every filter and order, as the statements that are really run: SQLite answers
//! each from an index that begins with the organization and the filter, in the order of the page.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use accredit_domain::ports::{
    Admissions as _, Certificates as _, Log as _, Lookup, Order, Page, Registry as _,
    Revocations as _, Span,
};
use accredit_domain::registry::environment::Environment;
use accredit_store::driver::DriverError;
use accredit_store::driver::around::{Around, DriverAround, Step};
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqlStore};
use accredit_wire::ids::{
    AgentId, FederationId, InstanceId, KeyId, OrganizationId, PersonId, ResourceId,
};
use accredit_wire::time::Time;

/// What the readers asked for.
#[derive(Default)]
struct Heard(Mutex<BTreeSet<&'static str>>);

impl Around for Heard {
    fn reading<T: Default>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if let Step::Query(sql) = step {
            self.0.lock().expect("what was heard").insert(sql);
        }
        run()
    }
}

/// A store in a new folder, and what is heard of its readers.
struct Stage {
    folder: tempfile::TempDir,
    store: Arc<SqlStore>,
    heard: Arc<Heard>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let heard = Arc::new(Heard::default());
        let driver = SqliteDriver::open(&folder.path().join("accredit.db")).expect("a database");
        let driver = Arc::new(DriverAround::new(Arc::new(driver), Arc::clone(&heard)));
        let store = SqlStore::open_on(driver, &Options::default()).expect("a store");
        heard.0.lock().expect("what was heard").clear();
        Self { folder, store, heard }
    }

    /// The steps by which a statement is carried out.
    fn plan(&self, sql: &str) -> String {
        let file = self.folder.path().join("accredit.db");
        let conn = rusqlite::Connection::open(file).expect("the file");
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        for parameter in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(parameter, "").expect("bound");
        }
        let (mut steps, mut rows) = (Vec::new(), statement.raw_query());
        while let Some(row) = rows.next().expect("a step") {
            steps.push(row.get::<_, String>(3).expect("text"));
        }
        steps.join("; ")
    }

    /// The plans of the statements since the last time; demands that each seeks its first table
    /// with `index` by as many columns, and sorts nothing.
    #[track_caller]
    fn check(&self, what: &str, index: &str, by: &str) {
        let heard = std::mem::take(&mut *self.heard.0.lock().expect("what was heard"));
        assert!(!heard.is_empty(), "{what}: nothing was read");
        for sql in heard {
            let plan = self.plan(sql);
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{what}: {plan}");
            let first = plan.split("; ").next();
            let seeks = first.is_some_and(|step| step.contains(index) && step.contains(by));
            assert!(seeks, "{what}: not by {index} {by}: {plan}");
        }
    }
}

fn page(order: Order) -> Page {
    Page { limit: 51, order, ..Page::default() }
}

const ORDERS: [Order; 6] = [
    Order::Oldest,
    Order::Newest,
    Order::Name,
    Order::NameBackwards,
    Order::Due,
    Order::DueBackwards,
];

/// The page as it is, and with every time filter there is, which sieve it or bound it.
fn with_times(page: Page) -> [Page; 2] {
    let span = Span { from: Some(Time::from_seconds(1)), before: Some(Time::from_seconds(2)) };
    [page.clone(), Page { created: span, due: span, used: span, ..page }]
}

/// The columns by which a page in this order seeks behind those of its filter.
fn range(order: Order, name: &str, due: &str) -> String {
    match order {
        Order::Oldest | Order::Newest => "id>?".to_owned(),
        Order::Name | Order::NameBackwards => format!("{name}>?"),
        Order::Due | Order::DueBackwards => format!("({due},id)>(?,?)"),
    }
}

#[tokio::test]
async fn agents_are_listed_from_an_index_that_begins_with_the_filter() {
    let stage = Stage::new();
    let (store, org) = (&stage.store, OrganizationId::new(1, [1; 10]));
    for order in ORDERS {
        let range = range(order, "name", "review_due_at");
        let index = |by_id, by_name, by_due| match order {
            Order::Oldest | Order::Newest => by_id,
            Order::Name | Order::NameBackwards => by_name,
            Order::Due | Order::DueBackwards => by_due,
        };
        let list = async |what: &str, wanted: Page, index: &str, lead: &str| {
            for page in with_times(wanted) {
                store.agents(org, page).await.expect("a page");
                stage.check(what, index, &format!("(org=?{lead} AND {range}"));
            }
        };
        let own = index("PRIMARY KEY", "sqlite_autoindex_agent_2", "agent_review ");
        list("agents", page(order), own, "").await;
        let owner = Some(PersonId::new(1, [2; 10]));
        let of_owner = index("agent_owner ", "agent_owner_name", "agent_owner_review");
        list("owner", Page { owner, ..page(order) }, of_owner, " AND owner=?").await;
        let in_state = index("agent_state ", "agent_state_name", "agent_state_review");
        for state in ["draft", "active", "suspended"] {
            let page = Page { state: Some(state.to_owned()), ..page(order) };
            list(state, page, in_state, " AND state=?").await;
        }
        let prod = Page { environment: Some(Environment::Prod), ..page(order) };
        let prod_active = Page { state: Some("active".to_owned()), ..prod.clone() };
        if order.is_by_due() {
            list("environment", prod, own, "").await;
            list("environment and state", prod_active, in_state, " AND state=?").await;
            continue;
        }
        let there = index("agent_environment ", "agent_environment_name", "");
        for page in [prod, prod_active] {
            list("environment", page, there, " AND environment=?").await;
        }
    }
}

#[tokio::test]
async fn what_expires_is_listed_from_an_index_that_begins_with_the_filter() {
    let stage = Stage::new();
    let (store, org) = (&stage.store, OrganizationId::new(1, [1; 10]));
    let states =
        [None, Some("active".to_owned()), Some("expired".to_owned()), Some("revoked".to_owned())];
    for (order, state) in ORDERS.into_iter().flat_map(|order| states.clone().map(|s| (order, s))) {
        let range = range(order.without_name(), "", "expires_at");
        let by = |by_id, by_due| if order.is_by_due() { by_due } else { by_id };
        let plain = Page { state: state.clone(), ..page(order) };
        let lead = if state.is_some() { " AND state=?" } else { "" };
        let of_agent = Page { agent: Some(AgentId::new(1, [3; 10])), ..plain.clone() };
        let of_resource = Page { resource: Some(ResourceId::new(1, [4; 10])), ..plain.clone() };
        for page in with_times(plain) {
            store.instances(org, page.clone()).await.expect("a page");
            let index = if state.is_some() { "instance_state" } else { "PRIMARY KEY" };
            stage.check("instances", index, &format!("(org=?{lead} AND id>?"));
            store.tasks(org, page.clone()).await.expect("a page");
            let index = if state.is_some() { "task_state" } else { "PRIMARY KEY" };
            stage.check("tasks", index, &format!("(org=?{lead} AND id>?"));
            store.certificates(org, page.clone()).await.expect("a page");
            stage.check("certificates", "autoindex_certificate", "(org=? AND id>?");
            let (signer, serial) = (KeyId::new(1, [6; 10]), [7; 16]);
            store.certificates_signed(org, signer, Some(serial), 9).await.expect("a page");
            let seek = "(org=? AND key=? AND number>?";
            stage.check("an intermediate's certificates", "certificate_number", seek);
            store.certificate_numbered(org, signer, serial).await.expect("read");
            let seek = "(org=? AND key=? AND number>? AND number<?";
            stage.check("a certificate by its number", "certificate_number", seek);
            store.credentials(org, page.clone()).await.expect("a page");
            let index = match state {
                None => by("PRIMARY KEY", "credential_expiry"),
                Some(_) => by("credential_state ", "credential_state_expiry"),
            };
            stage.check("credentials", index, &format!("(org=?{lead} AND {range}"));
            store.admin_keys(org, page).await.expect("a page");
            let index = by("credential_admin ", "credential_admin_expiry");
            stage.check("administrators' keys", index, &format!("(org=? AND {range}"));
        }
        for page in with_times(of_agent) {
            store.instances(org, page.clone()).await.expect("a page");
            stage.check("an agent's instances", "instance_agent", "(org=? AND agent=? AND id>?");
            store.tasks(org, page.clone()).await.expect("a page");
            stage.check("an agent's tasks", "task_agent", "(org=? AND agent=? AND id>?");
            store.certificates(org, page.clone()).await.expect("a page");
            let seek = "(org=? AND agent=? AND id>?";
            stage.check("an agent's certificates", "autoindex_certificate", seek);
            let instance = Some(InstanceId::new(1, [5; 10]));
            store.certificates(org, Page { instance, ..page.clone() }).await.expect("a page");
            let seek = "(org=? AND instance=? AND id>?";
            stage.check("an instance's certificates", "PRIMARY KEY", seek);
            store.certificate_of(org, InstanceId::new(1, [5; 10]), [0; 32]).await.expect("read");
            stage.check("a certificate that is shown", "PRIMARY KEY", "(org=? AND instance=?");
            store.credentials(org, page).await.expect("a page");
            let index = by("credential_agent ", "credential_agent_expiry");
            let by = format!("(org=? AND agent=? AND {range}");
            stage.check("an agent's credentials", index, &by);
        }
        for page in with_times(of_resource) {
            store.credentials(org, page).await.expect("a page");
            let index = by("credential_resource ", "credential_resource_expiry");
            let by = format!("(org=? AND resource=? AND {range}");
            stage.check("a resource's credentials", index, &by);
        }
    }
}

#[tokio::test]
async fn every_other_list_is_answered_from_an_index_that_begins_with_its_filter() {
    let stage = Stage::new();
    let (store, org) = (&stage.store, OrganizationId::new(1, [1; 10]));
    for order in ORDERS {
        for state in [None, Some("suspended".to_owned())] {
            let lead = if state.is_some() { " AND state=?" } else { "" };
            for page in with_times(Page { state: state.clone(), ..page(order) }) {
                store.organizations(page.clone()).await.expect("a page");
                stage.check("organizations", "organization", "(org>?");
                store.persons(org, page.clone()).await.expect("a page");
                let by = format!("(org=?{lead} AND {}", range(order.without_due(), "email", ""));
                stage.check("persons", "person", &by);
                store.federations(org, page.clone()).await.expect("a page");
                let by = format!("(org=?{lead} AND {}", range(order.without_due(), "name", ""));
                stage.check("federations", "federation", &by);
                store.resources(org, page).await.expect("a page");
                let by = format!("(org=?{lead} AND {}", range(order.without_due(), "name", ""));
                stage.check("resources", "resource", &by);
            }
        }
        for page in with_times(page(order)) {
            store.revocations(org, page.clone()).await.expect("a page");
            stage.check("revocations", "PRIMARY KEY", "(org=? AND rev>?");
            let target = Some(AgentId::new(1, [5; 10]).any());
            store.revocations(org, Page { target, ..page }).await.expect("a page");
            let by = "(org=? AND target=? AND rev>?";
            stage.check("revocations of one target", "revocation_target", by);
        }
    }
    store.time_boxed(org).await.expect("the kills for a time");
    stage.check("kills for a time", "revocation_ends", "(org=?");
    store.identities(org, PersonId::new(1, [6; 10]), 9).await.expect("identities");
    let by = "(org=? AND person=?";
    stage.check("a person's identities", "person_identity_person", by);
    store.federation_keys_due(org, Time::from_seconds(1), 9).await.expect("keys");
    stage.check("keys that are due", "federation_keys_due", "(org=? AND due_at<?");
    store.foreign_domains(org).await.expect("domains");
    stage.check("other trust domains", "PRIMARY KEY", "(org=?)");
    let id = FederationId::new(1, [7; 10]);
    store.person_facts(org, id, "user").await.expect("facts");
    let by = "(org=? AND federation=? AND subject=?";
    stage.check("who a user is", "PRIMARY KEY", by);
    store.federation_facts(org, "https://idp.example").await.expect("facts");
    stage.check("an issuer's federation", "sqlite_autoindex_federation_3", "(org=? AND issuer=?");
    for order in [Order::Oldest, Order::Newest] {
        let kinds = vec!["agent.created".to_owned()];
        store.leaves_of(org, 0, kinds, 0..9, (order, 50)).await.expect("a page");
        stage.check("events by type", "event_kind", "(org=? AND lane=? AND kind=? AND seq>?");
    }
    store.leaves(org, 0, 0, 50).await.expect("a page");
    stage.check("events", "sqlite_autoindex_event_1", "(org=? AND lane=? AND seq>?");
}

/// However many instances and credentials an agent has, none of their rows is looked at.
#[tokio::test]
async fn what_a_kill_of_an_agent_ends_is_counted_in_indexes_alone() {
    let stage = Stage::new();
    let (org, agent) = (OrganizationId::new(1, [1; 10]), AgentId::new(1, [2; 10]));
    stage.store.rows_below(org, agent.any()).await.expect("counted");
    let heard = std::mem::take(&mut *stage.heard.0.lock().expect("what was heard"));
    for (table, index) in
        [("FROM instance ", "instance_of_agent"), ("FROM credential ", "credential_of_agent")]
    {
        let of_table: Vec<_> = heard.iter().filter(|sql| sql.contains(table)).collect();
        assert_eq!(of_table.len(), 1, "{heard:?}");
        let plan = stage.plan(of_table[0]);
        assert!(plan.contains(&format!("COVERING INDEX {index}")), "{table}: {plan}");
    }
}

/// An agent is read again and again: by its own credentials, not by those of its instances.
#[tokio::test]
async fn an_agent_is_read_without_looking_at_its_instances() {
    let stage = Stage::new();
    let (org, id) = (OrganizationId::new(1, [1; 10]), AgentId::new(1, [2; 10]));
    stage.store.agent(org, Lookup::Id(id), Time::from_seconds(1)).await.expect("read");
    let heard = std::mem::take(&mut *stage.heard.0.lock().expect("what was heard"));
    assert_eq!(heard.len(), 1, "{heard:?}");
    let plan = stage.plan(heard.first().expect("one"));
    let steps =
        plan.split("; ").filter(|step| step.contains("SEARCH c ") || step.contains("SEARCH n "));
    let by_own: Vec<_> = steps.map(|step| step.contains("INDEX credential_own ")).collect();
    assert!(by_own.len() > 1 && !by_own.contains(&false), "{plan}");
}
