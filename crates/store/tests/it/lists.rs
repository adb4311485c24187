//! Lists against a model: whatever the filters, the order, the size of pages and how many rows one
//! may look at, the pages together are the model's rows, in its order, also where rows come
//! between two pages.

use std::time::Duration;

use accredit_domain::ports::{
    LOOKED_ROWS_MAX, Ledger as _, Order, Page, Registry as _, Revocations as _, Row, Span, Use,
};
use accredit_domain::registry::admin_key::AdminRole;
use accredit_domain::registry::agent::AgentState;
use accredit_domain::registry::credential::{CredentialState, Holder};
use accredit_domain::registry::environment::Environment;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::task::{Task, TaskState};
use accredit_domain::registry::{Agent, Credential, Instance, Listed, Person, Resource, State};
use accredit_domain::revocation::Revocation;
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, PersonId, ResourceId, RevocationId, TaskId,
};
use accredit_wire::time::Time;
use proptest::prelude::*;

use crate::engine;
use crate::given::{
    NOW, World, agent, commit, held_by, instance, person, resource, revocation, secret, task,
    unique,
};

/// Times that fall into few milliseconds, so that some are alike and some differ by less than what
/// an id holds.
fn at(step: u8) -> Time {
    NOW.plus(Duration::from_micros(u64::from(step) * 300))
}

/// A row as random numbers, which each list reads as its columns.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    created: u8,
    due: u8,
    used: Option<u8>,
    state: u8,
    holder: u8,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (0u8..16, 0u8..8, prop::option::of(0u8..8), 0u8..3, 0u8..3)
        .prop_map(|(created, due, used, state, holder)| Drawn { created, due, used, state, holder })
}

/// What a page asks for, as random numbers.
#[derive(Clone, Copy, Debug)]
struct Asked {
    order: Order,
    limit: usize,
    looked: usize,
    created: Span,
    due: Span,
    used: Span,
    state: Option<u8>,
    holder: Option<u8>,
    other: Option<u8>,
    prefix: bool,
}

fn span(steps: u8) -> impl Strategy<Value = Span> {
    let end = move || prop::option::weighted(0.3, (0..steps).prop_map(at));
    (end(), end()).prop_map(|(from, before)| Span { from, before })
}

fn asked() -> impl Strategy<Value = Asked> {
    let order = prop::sample::select(vec![
        Order::Oldest,
        Order::Newest,
        Order::Name,
        Order::NameBackwards,
        Order::Due,
        Order::DueBackwards,
    ]);
    let one = || prop::option::weighted(0.3, 0u8..3);
    let filters = (span(16), span(8), span(8), one(), one(), one(), any::<bool>());
    (order, 1usize..6, 1usize..8, filters).prop_map(|(order, limit, looked, filters)| {
        let (created, due, used, state, holder, other, prefix) = filters;
        Asked { order, limit, looked, created, due, used, state, holder, other, prefix }
    })
}

/// A row as the model sees it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    name: String,
    created: Time,
    due: Option<Time>,
    used: Option<Time>,
    state: String,
    holder: Option<AnyId>,
    environment: Option<Environment>,
}

impl Known {
    fn is_wanted(&self, page: &Page) -> bool {
        let holders = [
            page.owner.map(PersonId::any),
            page.agent.map(AgentId::any),
            page.resource.map(ResourceId::any),
            page.target,
        ];
        let never = Time::from_micros(i64::MAX - 1);
        let holder = holders.into_iter().flatten().next();
        page.prefix.as_ref().is_none_or(|prefix| self.name.starts_with(prefix.as_str()))
            && page.created.holds(self.created)
            && page.due.holds(self.due.unwrap_or(never))
            && (page.used.is_all()
                || self.used.map_or(page.used.from.is_none(), |used| page.used.holds(used)))
            && page.state.as_ref().is_none_or(|state| *state == self.state)
            && holder.is_none_or(|holder| self.holder == Some(holder))
            && page.environment.is_none_or(|there| self.environment == Some(there))
    }

    fn key(&self, order: Order) -> (Time, String) {
        let none = Time::default();
        match order {
            Order::Oldest | Order::Newest => (none, self.id.clone()),
            Order::Name | Order::NameBackwards => (none, self.name.clone()),
            Order::Due | Order::DueBackwards => (self.due.unwrap_or(none), self.id.clone()),
        }
    }
}

/// The lists.
#[derive(Clone, Copy, Debug)]
enum List {
    Persons,
    Resources,
    Agents,
    Instances,
    Tasks,
    Credentials,
    AdminKeys,
    Revocations,
}

const LISTS: [List; 8] = [
    List::Persons,
    List::Resources,
    List::Agents,
    List::Instances,
    List::Tasks,
    List::Credentials,
    List::AdminKeys,
    List::Revocations,
];

/// When what expires is looked at: some of it has.
const LOOKED_AT: u8 = 4;

/// A world with what rows are held by.
struct Stage {
    world: World,
    persons: Vec<Person>,
    agents: Vec<Agent>,
    resources: Vec<Resource>,
    list: List,
    known: Vec<Known>,
}

impl Stage {
    async fn new(list: List) -> Self {
        let world = World::new().await;
        let (mut persons, mut agents, mut resources) = (Vec::new(), Vec::new(), Vec::new());
        // A list of the holders themselves begins empty.
        for n in 0..3 {
            let holder = person(&format!("held-{n}@example.com"));
            if matches!(list, List::Agents) {
                world.commit(vec![Row::Person(holder.clone())]).await.expect("committed");
            }
            persons.push(holder);
            if matches!(list, List::Instances | List::Tasks | List::Credentials) {
                agents.push(world.agent(&format!("held-{n}")).await);
            }
            if matches!(list, List::Credentials) {
                resources.push(world.resource(&format!("held-{n}")).await);
            }
        }
        Self { world, persons, agents, resources, list, known: Vec::new() }
    }

    /// Writes a row, and notes it.
    async fn add(&mut self, drawn: Drawn) {
        let created = at(drawn.created);
        let (millis, due) = (created.millis(), at(drawn.due));
        let word = ["a", "ab", "b"][usize::from(drawn.holder)];
        let name = format!("{word}{}-{}", 7 - drawn.due, self.known.len());
        let expired = if due <= at(LOOKED_AT) { "expired" } else { "active" };
        let (suspended, revoked) = (drawn.state == 1, drawn.state == 2);
        let state = if suspended { State::Suspended } else { State::Active };
        let expiring = if revoked { "revoked" } else { expired };
        let holder = usize::from(drawn.holder);
        let mut known = Known {
            id: String::new(),
            name: name.clone(),
            created,
            due: None,
            used: None,
            state: state.as_str().to_owned(),
            holder: None,
            environment: None,
        };
        let id: AnyId = match self.list {
            List::Persons => {
                let row = Person {
                    id: PersonId::new(millis, unique()),
                    state,
                    created_at: created,
                    ..person(&name)
                };
                let id = row.id.any();
                self.world.commit(vec![Row::Person(row)]).await.expect("committed");
                id
            }
            List::Resources => {
                let row = Resource {
                    id: ResourceId::new(millis, unique()),
                    state,
                    created_at: created,
                    ..resource(&name)
                };
                let id = row.id.any();
                self.world.commit(vec![Row::Resource(row)]).await.expect("committed");
                id
            }
            List::Agents => {
                let id = AgentId::new(millis, unique());
                let environment = Environment::ALL[usize::from(drawn.state)];
                let states = [AgentState::Active, AgentState::Suspended, AgentState::Draft];
                let row = Agent {
                    id,
                    state: states[usize::from((drawn.state + drawn.holder) % 3)],
                    environment,
                    review_due_at: due,
                    created_at: created,
                    ..agent(&name, Some(&self.persons[holder]))
                };
                row.state.as_str().clone_into(&mut known.state);
                (known.due, known.environment) = (Some(due), Some(environment));
                known.holder = row.owner.map(PersonId::any);
                self.world.commit(vec![Row::Agent(row)]).await.expect("committed");
                id.any()
            }
            List::Instances => {
                let (row, _) = instance(self.agents[holder].id);
                let ends = (!suspended).then_some(due);
                let row = Instance {
                    id: InstanceId::new(millis, unique()),
                    state: if revoked { InstanceState::Revoked } else { InstanceState::Active },
                    created_at: created,
                    expires_at: ends,
                    ..row
                };
                known.due = ends;
                let state = if ends.is_none() { "active" } else { expiring };
                state.clone_into(&mut known.state);
                known.holder = Some(row.agent.any());
                let id = row.id.any();
                self.world.commit(vec![Row::Instance(row)]).await.expect("committed");
                id
            }
            List::Tasks => {
                let row = Task {
                    id: TaskId::new(millis, unique()),
                    state: if revoked { TaskState::Ended } else { TaskState::Active },
                    created_at: created,
                    deadline: due,
                    ..task(self.agents[holder].id)
                };
                known.due = Some(due);
                let state = if revoked { "ended" } else { expired };
                state.clone_into(&mut known.state);
                known.holder = Some(row.agent.any());
                let id = row.id.any();
                self.world.commit(vec![Row::Task(row)]).await.expect("committed");
                id
            }
            List::Credentials | List::AdminKeys => {
                let held = match (self.list, suspended) {
                    (List::AdminKeys, _) => Holder::Admin(held_by(AdminRole::Owner)),
                    (_, true) => Holder::Resource(self.resources[holder].id),
                    (_, false) => Holder::Agent(self.agents[holder].id),
                };
                known.holder = match &held {
                    Holder::Agent(id) => Some(id.any()),
                    Holder::Resource(id) => Some(id.any()),
                    Holder::Instance(..) | Holder::Admin(_) => None,
                };
                let (active, ended) = (CredentialState::Active, CredentialState::Revoked);
                let row = Credential {
                    id: CredentialId::new(millis, unique()),
                    state: if revoked { ended } else { active },
                    created_at: created,
                    expires_at: due,
                    ..secret(held)
                };
                known.due = Some(due);
                expiring.clone_into(&mut known.state);
                let id = row.id.any();
                self.world.commit(vec![Row::Credential(row)]).await.expect("committed");
                id
            }
            List::Revocations => {
                let target = ResourceId::new(1, [drawn.holder; 10]).any();
                let row = Revocation {
                    id: RevocationId::new(millis, unique()),
                    revoked_at: created,
                    ..revocation(target)
                };
                known.holder = Some(target);
                let (id, org) = (row.id.any(), self.world.org);
                let written = commit(&self.world.store, org, vec![], Some(row)).await;
                written.expect("committed");
                id
            }
        };
        known.id = id.to_string();
        if let (Some(used), List::Agents | List::Instances | List::Credentials | List::AdminKeys) =
            (drawn.used, self.list)
        {
            known.used = Some(at(used));
            let used = Use { org: self.world.org, id, at: at(used), source: None };
            self.world.store.record_uses(vec![used]).await.expect("recorded");
        }
        self.known.push(known);
    }

    /// The page that is asked for, as far as this list knows its filters and orders.
    fn page(&self, asked: &Asked) -> Page {
        let named = matches!(self.list, List::Persons | List::Resources | List::Agents);
        let due = matches!(self.list, List::Agents | List::Credentials | List::AdminKeys);
        let ends = due || matches!(self.list, List::Instances | List::Tasks);
        let used = due || matches!(self.list, List::Instances);
        let order = if named { asked.order } else { asked.order.without_name() };
        let order = if due { order } else { order.without_due() };
        let holder = asked.holder.map(usize::from);
        let words: &[&str] = match self.list {
            List::Persons | List::Resources => &["active", "suspended", "active"],
            List::Agents => &["active", "suspended", "draft"],
            List::Instances | List::Credentials | List::AdminKeys => {
                &["active", "expired", "revoked"]
            }
            List::Tasks => &["active", "expired", "ended"],
            List::Revocations => &[],
        };
        let state = asked.state.and_then(|state| words.get(usize::from(state)));
        let mut page = Page {
            order,
            limit: asked.limit,
            looked_max: Some(asked.looked),
            at: at(LOOKED_AT),
            prefix: (order.is_by_name() && asked.prefix).then(|| "ab".to_owned()),
            state: state.map(|state| (*state).to_owned()),
            created: asked.created,
            due: if ends { asked.due } else { Span::default() },
            used: if used { asked.used } else { Span::default() },
            ..Page::default()
        };
        match (self.list, asked.other, holder) {
            (List::Agents, other, holder) => {
                page.environment = other.map(|other| Environment::ALL[usize::from(other)]);
                page.owner = holder.map(|holder| self.persons[holder].id);
            }
            (List::Credentials, Some(1), Some(holder)) => {
                page.resource = Some(self.resources[holder].id);
            }
            (List::Credentials | List::Instances | List::Tasks, _, Some(holder)) => {
                page.agent = Some(self.agents[holder].id);
            }
            (List::Revocations, _, Some(holder)) => {
                page.target = Some(ResourceId::new(1, [holder as u8; 10]).any());
            }
            _ => {}
        }
        page
    }

    async fn read(&self, page: Page) -> Listed<String> {
        fn ids<T>(found: Listed<T>, id: impl Fn(&T) -> String) -> Listed<String> {
            Listed { items: found.items.iter().map(id).collect(), next: found.next }
        }
        let (store, org) = (&self.world.store, self.world.org);
        let read = "read";
        match self.list {
            List::Persons => ids(store.persons(org, page).await.expect(read), |r| r.id.to_string()),
            List::Resources => {
                ids(store.resources(org, page).await.expect(read), |r| r.id.to_string())
            }
            List::Agents => ids(store.agents(org, page).await.expect(read), |r| r.id.to_string()),
            List::Instances => {
                ids(store.instances(org, page).await.expect(read), |r| r.id.to_string())
            }
            List::Tasks => ids(store.tasks(org, page).await.expect(read), |r| r.id.to_string()),
            List::Credentials => {
                ids(store.credentials(org, page).await.expect(read), |r| r.id.to_string())
            }
            List::AdminKeys => {
                ids(store.admin_keys(org, page).await.expect(read), |r| r.id.to_string())
            }
            List::Revocations => {
                ids(store.revocations(org, page).await.expect(read), |r| r.id.to_string())
            }
        }
    }

    /// The rows that there are, in the order and with the filters of a page.
    fn expected(&self, page: &Page) -> Vec<String> {
        let mut rows: Vec<&Known> = self.known.iter().filter(|row| row.is_wanted(page)).collect();
        // Entries are in the order in which they were written.
        if !matches!(self.list, List::Revocations) {
            rows.sort_by_cached_key(|row| row.key(page.order));
        }
        if page.order.is_backwards() {
            rows.reverse();
        }
        rows.into_iter().map(|row| row.id.clone()).collect()
    }

    /// All pages, with a row that comes after each while there are some.
    async fn walk(&mut self, mut page: Page, mut more: &[Drawn]) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..1000 {
            let found = self.read(page.clone()).await;
            assert!(found.items.len() <= page.limit, "a page has {} rows", found.items.len());
            ids.extend(found.items);
            let Some(next) = found.next else { return ids };
            assert_ne!(page.cursor.as_ref(), Some(&next), "it goes on");
            page.cursor = Some(next);
            if let Some((drawn, rest)) = more.split_first() {
                self.add(*drawn).await;
                more = rest;
            }
        }
        panic!("the list does not end");
    }
}

fn run(list: List, rows: &[Drawn], more: &[Drawn], pages: &[Asked]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut stage = Stage::new(list).await;
        for row in rows {
            stage.add(*row).await;
        }
        if matches!(list, List::Credentials) {
            assert_eq!(stage.known.len(), rows.len());
        }
        for asked in pages {
            let page = stage.page(asked);
            let expected = stage.expected(&page);
            let found = stage.walk(page.clone(), &[]).await;
            assert_eq!(found, expected, "{page:?} of {:#?}", stage.known);
        }
        let Some(asked) = pages.first() else { return };
        let page = stage.page(asked);
        let before = stage.expected(&page);
        let found = stage.walk(page.clone(), more).await;
        let after = stage.expected(&page);
        let old: Vec<&String> = found.iter().filter(|id| before.contains(id)).collect();
        assert_eq!(old, before.iter().collect::<Vec<_>>(), "{page:?}: what there was, once");
        let mut rest = after.iter();
        let in_order = found.iter().all(|id| rest.any(|known| known == id));
        assert!(in_order, "{page:?}: {found:?} in the order of {after:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn pages_together_are_what_a_model_lists(
        rows in prop::collection::vec(drawn(), 8..24),
        more in prop::collection::vec(drawn(), 0..6),
        pages in prop::collection::vec(asked(), 24),
    ) {
        for list in LISTS {
            run(list, &rows, &more, &pages);
        }
    }
}

#[tokio::test]
async fn a_page_looks_at_so_many_rows_and_says_where_it_goes_on() {
    let world = World::new().await;
    let last = world.agent("zz").await;
    let row = |n| {
        format!("('{}', 'agt_{n:026}', 'a{n}', 'dev', 'active', '[]', 0, 300, 1, 1, 1)", world.org)
    };
    // As many as one page looks at.
    let rows: Vec<String> = (1..=LOOKED_ROWS_MAX).map(row).collect();
    engine::script(
        &world.folder,
        &format!(
            "INSERT INTO agent (org, id, name, environment, state, permissions, may_delegate, \
             token_lifetime, review_due_at, created_at, version) VALUES {}",
            rows.join(",")
        ),
    );
    let page = Page {
        limit: 5,
        created: Span { from: Some(NOW), before: None },
        order: Order::Name,
        ..Page::default()
    };
    let first = world.store.agents(world.org, page.clone()).await.expect("a page");
    assert!(first.items.is_empty(), "none of those that were looked at is wanted");
    let next = Page { cursor: first.next, ..page };
    assert!(next.cursor.is_some(), "but there are more");
    let second = world.store.agents(world.org, next).await.expect("a page");
    assert_eq!(second.items.iter().map(|row| row.id).collect::<Vec<_>>(), [last.id]);
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn a_cursor_that_was_never_given_is_after_everything() {
    let world = World::new().await;
    world.agent("bot").await;
    for order in [Order::Due, Order::DueBackwards] {
        for cursor in ["", "x", "1", "x:agt_1", ":", "99999999999999999999:agt_1"] {
            let cursor = Some(cursor.to_owned());
            let page = Page { limit: 5, order, cursor, ..Page::default() };
            let found = world.store.agents(world.org, page).await.expect("a page");
            assert!(found.items.is_empty() && found.next.is_none());
        }
    }
}
