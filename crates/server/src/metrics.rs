//! What is counted about this process, as Prometheus reads it (OpenMetrics 1.0 text).
//!
//! Every metric is described once, in [`CATALOGUE`], from which `docs/metrics.md` is made. Labels
//! are bounded: organizations to [`ORGANIZATIONS_MAX`], rules and operations to what there is in
//! the program. Absent on purpose: ids of agents, instances, credentials and tokens.
//!
//! On the way of a request stand two looks at a clock, one histogram and, for a token, one
//! counter; whatever else is told is read when somebody asks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use accredit_domain::Fault;
use accredit_domain::ports::{Notice, Observer};
use accredit_domain::tenant::Tenant;
use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::Server;
use crate::connections::NoPlace;
use crate::watch::State;

/// Organizations that are told apart; the others are counted together as [`OTHERS`].
pub const ORGANIZATIONS_MAX: usize = 256;
/// The label of organizations beyond [`ORGANIZATIONS_MAX`]; no organization can be called so.
pub const OTHERS: &str = "_others";
/// The operation of requests that no row of the table answers.
pub const UNMATCHED: &str = "unmatched";

/// The upper bounds of the histogram of requests, seconds.
const BUCKETS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Those of the histogram of propagation, seconds: up to the usual age bound of a follower.
const PROPAGATION_BUCKETS: [f64; 12] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];
/// The classes of a status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One metric, as it is told and documented.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name, without the suffix that its kind adds.
    pub name: &'static str,
    /// `counter` (told with `_total`), `gauge`, `histogram` or `info` (told with `_info`).
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static str,
    /// What it is, without a full stop.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident $name:literal $kind:literal $labels:literal $help:literal;)*) => {
        $(const $constant: Described =
            Described { name: $name, kind: $kind, labels: $labels, help: $help };)*

        /// Every metric, in the order of `docs/metrics.md`.
        pub const CATALOGUE: &[Described] = &[$($constant,)*];
    };
}

catalogue! {
    BUILD "accredit_build" "info" "version" "The version that runs";
    STARTED "accredit_process_start_time_seconds" "gauge" "" "When this process started, seconds since 1970";
    ISSUED "accredit_tokens_issued" "counter" "org" "Tokens issued, each with its event on disk";
    CERTIFIED "accredit_certificates_issued" "counter" "org" "Certificates issued to instances, each with its event on disk";
    SHOWN "accredit_listener_certificates_issued" "counter" "" "Certificates that this process made for its listener by the installation's own authority (`tls.own_ca`)";
    SHOWN_UNTIL "accredit_listener_certificate_until_seconds" "gauge" "" "When the one of them that is shown is over, seconds since 1970; 0 without `tls.own_ca`";
    LISTED "accredit_certificate_lists_made" "counter" "" "Lists of revoked certificates (RFC 5280) that were made and signed, because somebody asked for one";
    ENTRIES "accredit_certificate_list_entries" "gauge" "" "Certificates on the longest of these lists that is kept in memory";
    ASKED_ABOUT "accredit_certificate_status_requests" "counter" "outcome" "OCSP requests (RFC 6960): `answered`, also from memory; `unknown`, about a certificate that is not known here; `malformed`; `later`, because too much was to be signed";
    REFUSED "accredit_tokens_refused" "counter" "org, rule" "Requests for a token or a certificate that were refused, by rule (docs/refusals.md); malformed ones are not among them";
    REQUESTS "accredit_request_duration_seconds" "histogram" "operation, status" "Time from a request's head to the head of its answer, by operation of the API and class of status";
    REVOCATIONS "accredit_revocations" "counter" "" "Entries of the revocation graph that were written, all organizations";
    PROPAGATION "accredit_revocation_propagation_seconds" "histogram" "" "Time from the writing of a revocation to a follower's acknowledgement that it has applied it, one for each follower that acknowledges";
    STRANGERS "accredit_unknown_administrators" "counter" "" "Requests with an administrator's key that no organization knows; those with a wrong key of a known one are events of its log";
    FOLLOWERS "accredit_feed_followers" "gauge" "" "Followers of the revocation feed that are connected";
    CONNECTIONS "accredit_connections" "gauge" "" "Connections that are open";
    NO_PLACE "accredit_connections_refused" "counter" "reason" "Connections that were closed at once, because all places were taken (`full`) or those of their network (`network`)";
    ORGANIZATIONS "accredit_organizations_loaded" "gauge" "" "Organizations in memory";
    BATCHES "accredit_store_batches" "counter" "" "Groups of writes, each committed with one sync";
    WRITES "accredit_store_writes" "counter" "" "Writes in all groups; divided by the groups it is how many share a sync";
    WRITE_TIME "accredit_store_write_seconds" "counter" "" "Time that groups of writes took together";
    RETRIES "accredit_store_retries" "counter" "operation" "Times that the store ran something again, because its engine was gone for a moment or undid it";
    LAST_WRITE "accredit_store_last_write_seconds" "gauge" "" "Time that the last group of writes took, or the one under way has taken";
    WAITING "accredit_store_writes_waiting" "gauge" "" "Writes that wait for their group";
    HITS "accredit_store_cache_hits" "counter" "" "Facts that issuing found in memory";
    MISSES "accredit_store_cache_misses" "counter" "" "Facts that issuing had to read from the store";
    SEQUENCED "accredit_log_sequenced_events" "gauge" "" "Events in the logs of the organizations in memory";
    INTEGRATED "accredit_log_integrated_events" "gauge" "" "Events of them that a signed checkpoint covers";
    KEY_SETS "accredit_key_sets_fetched" "counter" "outcome" "Agents' key sets that were fetched (`had`) or could not be had or used (`failed`), all organizations in memory";
    SCHEDULED "accredit_scheduled_jobs" "gauge" "" "1 on the node that does by the clock what one does for all nodes on a store, else 0";
    OWN_LANES "accredit_own_lanes" "gauge" "" "1 on a node that writes what it issues to lanes of the log of its own, beside others on a store; 0 where lanes are shared, and where a process has its store alone";
    DEGRADED "accredit_degraded" "gauge" "state" "1 while the process is in this degraded state (the names of `/readyz`), else 0";
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOrg {
    org: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRule {
    org: String,
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    operation: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;
type SecondsTotal = Counter<f64, AtomicU64>;
type Requests = Family<OfRequest, Histogram, fn() -> Histogram>;

/// What is counted of one operation: a histogram for each class of status that occurred.
#[derive(Debug)]
pub struct Operation {
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    classes: [OnceLock<Histogram>; CLASSES.len()],
}

/// What is set when somebody asks.
#[derive(Debug, Default)]
struct Asked {
    followers: Gauge,
    connections: Gauge,
    no_place: Family<OfReason, Counter>,
    organizations: Gauge,
    batches: Counter,
    writes: Counter,
    write_time: SecondsTotal,
    retries: Family<OfOperation, Counter>,
    last_write: Seconds,
    waiting: Gauge,
    hits: Counter,
    misses: Counter,
    sequenced: Gauge,
    integrated: Gauge,
    key_sets: Family<OfOutcome, Counter>,
    lists: Counter,
    entries: Gauge,
    scheduled: Gauge,
    own_lanes: Gauge,
    degraded: Family<OfState, Gauge>,
    strangers: Counter,
}

/// The counters of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    refused: Family<OfRule, Counter>,
    issued: Family<OfOrg, Counter>,
    certified: Family<OfOrg, Counter>,
    asked_about: Family<OfOutcome, Counter>,
    /// The counter of tokens of each organization that is told apart.
    orgs: RwLock<HashMap<OrganizationId, Counter>>,
    revocations: Counter,
    propagation: Histogram,
    shown: Counter,
    shown_until: Seconds,
    asked: Asked,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn register(registry: &mut Registry, described: &Described, metric: impl Metric) {
    registry.register(described.name, described.help, metric);
}

impl Metrics {
    /// Of a process that started at `started`.
    pub fn new(started: Time) -> Self {
        let mut registry = Registry::default();
        let to = &mut registry;
        register(to, &BUILD, Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        let start = Seconds::default();
        start.set(started.micros() as f64 / 1e6);
        register(to, &STARTED, start);
        let issued = Family::<OfOrg, Counter>::default();
        register(to, &ISSUED, issued.clone());
        let certified = Family::<OfOrg, Counter>::default();
        register(to, &CERTIFIED, certified.clone());
        let (shown, shown_until) = (Counter::default(), Seconds::default());
        register(to, &SHOWN, shown.clone());
        register(to, &SHOWN_UNTIL, shown_until.clone());
        let asked = Asked::default();
        register(to, &LISTED, asked.lists.clone());
        register(to, &ENTRIES, asked.entries.clone());
        let asked_about = Family::<OfOutcome, Counter>::default();
        register(to, &ASKED_ABOUT, asked_about.clone());
        let refused = Family::<OfRule, Counter>::default();
        register(to, &REFUSED, refused.clone());
        let requests = Requests::new_with_constructor(histogram);
        register(to, &REQUESTS, requests.clone());
        let revocations = Counter::default();
        register(to, &REVOCATIONS, revocations.clone());
        let propagation = Histogram::new(PROPAGATION_BUCKETS);
        register(to, &PROPAGATION, propagation.clone());
        register(to, &STRANGERS, asked.strangers.clone());
        register(to, &FOLLOWERS, asked.followers.clone());
        register(to, &CONNECTIONS, asked.connections.clone());
        register(to, &NO_PLACE, asked.no_place.clone());
        register(to, &ORGANIZATIONS, asked.organizations.clone());
        register(to, &BATCHES, asked.batches.clone());
        register(to, &WRITES, asked.writes.clone());
        register(to, &WRITE_TIME, asked.write_time.clone());
        register(to, &RETRIES, asked.retries.clone());
        register(to, &LAST_WRITE, asked.last_write.clone());
        register(to, &WAITING, asked.waiting.clone());
        register(to, &HITS, asked.hits.clone());
        register(to, &MISSES, asked.misses.clone());
        register(to, &SEQUENCED, asked.sequenced.clone());
        register(to, &INTEGRATED, asked.integrated.clone());
        register(to, &KEY_SETS, asked.key_sets.clone());
        register(to, &SCHEDULED, asked.scheduled.clone());
        register(to, &OWN_LANES, asked.own_lanes.clone());
        register(to, &DEGRADED, asked.degraded.clone());
        let orgs = RwLock::new(HashMap::new());
        Self {
            registry,
            requests,
            refused,
            issued,
            certified,
            asked_about,
            orgs,
            revocations,
            propagation,
            shown,
            shown_until,
            asked,
        }
    }

    /// A token was issued.
    pub fn issued(&self, tenant: &Tenant) {
        let held = self.orgs.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = held.get(&tenant.id) {
            counter.inc();
            return;
        }
        drop(held);
        let org = self.label(tenant);
        self.issued.get_or_create(&OfOrg { org }).inc();
    }

    /// A certificate was issued.
    pub fn certified(&self, tenant: &Tenant) {
        let org = self.label(tenant);
        self.certified.get_or_create(&OfOrg { org }).inc();
    }

    /// The listener shows another certificate of the installation's own authority.
    pub fn listener_certified(&self, until: Time) {
        self.shown.inc();
        self.shown_until.set(until.micros() as f64 / 1e6);
    }

    /// Somebody asked about a certificate.
    pub fn asked_about(&self, outcome: &'static str) {
        self.asked_about.get_or_create(&OfOutcome { outcome }).inc();
    }

    /// A request for a token or a certificate was refused.
    pub fn refused(&self, tenant: &Tenant, rule: &'static str) {
        let org = self.label(tenant);
        self.refused.get_or_create(&OfRule { org, rule }).inc();
    }

    /// What an organization is called here.
    fn label(&self, tenant: &Tenant) -> String {
        let mut orgs = self.orgs.write().unwrap_or_else(PoisonError::into_inner);
        if !orgs.contains_key(&tenant.id) {
            if orgs.len() >= ORGANIZATIONS_MAX {
                return OTHERS.to_owned();
            }
            let labels = OfOrg { org: tenant.name.clone() };
            orgs.insert(tenant.id, self.issued.get_or_create_owned(&labels));
        }
        tenant.name.clone()
    }

    /// A follower says that it has applied a revocation, so long after it was written.
    pub fn propagated(&self, took: Duration) {
        self.propagation.observe(took.as_secs_f64());
    }

    /// The counters of an operation, to be kept where it is dispatched.
    pub fn operation(&self, name: &'static str) -> Arc<Operation> {
        Arc::new(Operation { name, classes: Default::default() })
    }

    /// A request was answered.
    pub fn answered(&self, operation: &Operation, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let histogram = operation.classes[class].get_or_init(|| {
            let labels = OfRequest { operation: operation.name, status: CLASSES[class] };
            self.requests.get_or_create_owned(&labels)
        });
        histogram.observe(took.as_secs_f64());
    }
}

impl Observer for Metrics {
    fn committed(&self, notice: &Notice) {
        if notice.revocation.is_some() {
            self.revocations.inc();
        }
    }
}

/// The start of something whose length is told.
#[expect(clippy::disallowed_methods, reason = "a length of time, for metrics; nothing is decided")]
pub(crate) fn begin() -> Instant {
    Instant::now()
}

/// Everything, as text.
pub async fn render(server: &Server) -> Result<String, Fault> {
    let metrics = &server.metrics;
    let health = server.world.store.health();
    let asked = &metrics.asked;
    let tenants = server.tenants.all();
    asked.followers.set(server.hub.followers() as i64);
    asked.connections.set(server.connections.count() as i64);
    for why in NoPlace::ALL {
        let counter = asked.no_place.get_or_create_owned(&OfReason { reason: why.name() });
        counter.inner().store(server.connections.refused(why), Ordering::Relaxed);
    }
    let strangers = server.strangers.take();
    asked.strangers.inc_by(strangers.iter().map(|(_, count)| count).sum());
    asked.organizations.set(tenants.len() as i64);
    asked.batches.inner().store(health.batches, Ordering::Relaxed);
    asked.writes.inner().store(health.members, Ordering::Relaxed);
    let writing = health.writing.as_secs_f64().to_bits();
    asked.write_time.inner().store(writing, Ordering::Relaxed);
    let retries = asked.retries.get_or_create_owned(&OfOperation { operation: "write a group" });
    retries.inner().store(health.retries, Ordering::Relaxed);
    asked.last_write.set(health.last_write.as_secs_f64());
    asked.waiting.set(health.waiting as i64);
    asked.hits.inner().store(health.cache_hits, Ordering::Relaxed);
    asked.misses.inner().store(health.cache_misses, Ordering::Relaxed);
    let (mut sequenced, mut integrated) = (0, 0);
    let (mut had, mut failed) = (0, 0);
    for tenant in tenants {
        let (of_had, of_failed) = tenant.follows.counted();
        (had, failed) = (had + of_had, failed + of_failed);
        for lane in server.world.store.lanes(tenant.id).await? {
            sequenced += lane.sequenced;
            integrated += lane.integrated;
        }
    }
    for (outcome, count) in [("had", had), ("failed", failed)] {
        let counter = asked.key_sets.get_or_create_owned(&OfOutcome { outcome });
        counter.inner().store(count, Ordering::Relaxed);
    }
    let statuses = &server.certificate_status;
    asked.lists.inner().store(statuses.lists_made(), Ordering::Relaxed);
    asked.entries.set(statuses.longest() as i64);
    asked.sequenced.set(sequenced as i64);
    asked.integrated.set(integrated as i64);
    asked.scheduled.set(i64::from(server.turns.is_own(server.world.clock.elapsed())));
    asked.own_lanes.set(i64::from(server.slots.own().is_some()));
    let now = server.watch.states();
    for state in State::ALL {
        let on = now.iter().any(|(on, _)| on == state);
        let labels = OfState { state: state.name() };
        asked.degraded.get_or_create(&labels).set(i64::from(on));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry)
        .map_err(|error| Fault::new("render metrics", error))?;
    Ok(text)
}

/// The list of all metrics for people: `docs/metrics.md`.
pub fn documentation() -> String {
    let mut text = HEAD.to_owned();
    for Described { name, kind, labels, help } in CATALOGUE {
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{name}{suffix}` | {kind} | {labels} | {help}. |");
    }
    text.push_str("\n## Degraded states\n\n");
    text.push_str(
        "`/readyz?verbose` tells each with the time since when. A state that blocks turns ",
    );
    text.push_str("`/readyz` to 503.\n\n| state | blocks | what to do |\n|---|---|---|\n");
    for state in State::ALL {
        let blocks = if state.blocks() { "yes" } else { "no" };
        let _ = writeln!(text, "| `{}` | {blocks} | {} |", state.name(), state.hint());
    }
    text
}

const HEAD: &str = "# Metrics

What `GET /metrics` tells, as OpenMetrics 1.0 text, which Prometheus reads. It is served by a
listener of its own, plain HTTP, only where `metrics_listen` is set (`docs/guide/configuration.md`);
say `127.0.0.1:8421` unless there is a reason for more: whoever reaches it reads the names of
organizations. No label ever holds an id of an agent, an instance, a credential or a token; beyond
256 organizations the rest are counted together as `_others`.

This file is generated from the program by a test, which rewrites it where it differs.

| metric | kind | labels | meaning |
|---|---|---|---|
";
