//! OpenAPI 3.1: everything that can be asked of the server, in one table.
//!
//! Router, OpenAPI document and coverage test are derived from it. Each row says who may call; a
//! row cannot be written without.

use accredit_domain::audit::prune::{Prune, PruneReport};
use accredit_domain::audit::read::EventView;
use accredit_domain::ca::bundle::CaView;
use accredit_domain::ca::issued::CertificateView;
use accredit_domain::ca::revoked::ListsView;
use accredit_domain::ca::upstream::{CaRequest, ImportCertificate};
use accredit_domain::federation::Identity;
use accredit_domain::federation::registry::{CreateFederation, Federation, UpdateFederation};
use accredit_domain::issuance::certificate::Svid;
use accredit_domain::issuance::jwt_svid::IssuedJwtSvid;
use accredit_domain::keys::SigningKeyView;
use accredit_domain::keys::rotation::{RotateKey, RotatedKeys};
use accredit_domain::registry::admin_key::{AdminKeyView, CreateAdminKey, RotateAdminKey};
use accredit_domain::registry::agent::{Agent, CreateAgent, Reason, UpdateAgent};
use accredit_domain::registry::credential::AdminPermission::{
    Administrators, Audit, Organizations, Read, Registry, Revoke as MayRevoke,
};
use accredit_domain::registry::credential::{CreateCredential, CredentialView};
use accredit_domain::registry::ghosts::Ghosts;
use accredit_domain::registry::identification::{Identified, Identify};
use accredit_domain::registry::impersonation::Impersonate;
use accredit_domain::registry::instance::{CreateInstance, InstanceView};
use accredit_domain::registry::keyed::KeyedInstance;
use accredit_domain::registry::organization::{
    CreateOrganization, CreatedOrganization, Organization, UpdateOrganization,
};
use accredit_domain::registry::permission::{PermissionView, SetPermission};
use accredit_domain::registry::person::{CreatePerson, Person, UpdatePerson};
use accredit_domain::registry::person_grant::{GrantPerson, LinkPerson};
use accredit_domain::registry::resource::{CreateResource, Resource, UpdateResource};
use accredit_domain::registry::rotation::{RotateCredential, RotatedCredential};
use accredit_domain::registry::strip::{Strip, Stripped};
use accredit_domain::registry::task::{CreateTask, TaskView};
use accredit_domain::restoration::Waive;
use accredit_domain::revocation::time_boxed::Undo;
use accredit_domain::revocation::{self, RevocationView, Revoke};
use accredit_domain::root::RotatedRoot;
use accredit_domain::trust_domains::told::Federated;
use accredit_domain::trust_domains::{AddTrustDomain, RefreshTrustDomain, TrustDomainView};
use accredit_wire::oauth::form::FORM_BYTES_MAX;
use accredit_wire::x509::ocsp::REQUEST_BYTES_MAX;

use self::Semantics::{Acts, Asks, Changes, Creates, CreatesFrom, Reads};
use crate::caller::Requirement::{self, Admin, Anyone, Client, OperatorAlone, Verifier};
use crate::dispatch::Handler;
use crate::drill;
use crate::failure::Language::{self, OAuth, Problem};
use crate::http::{admin, feed, health, log, oauth};
use crate::openapi::Shape;
use crate::propagation::Propagation;

/// Bytes of a JSON body.
pub const JSON_BYTES_MAX: usize = 64 * 1024;

/// Bytes of what a follower says that it has applied.
pub const ACKNOWLEDGEMENT_BYTES_MAX: usize = 512;

/// A method of HTTP that the table uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Creates, or does.
    Post,
    /// Sets.
    Put,
    /// Changes.
    Patch,
    /// Takes away.
    Delete,
}

impl Verb {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request does to what there is, and so on which terms it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// Nothing: it reads.
    Reads,
    /// It makes something, answered 201. Under an `Idempotency-Key` it does so once.
    Creates,
    /// It changes one thing that has versions: `If-Match` says on which. Done again it changes
    /// nothing more, or is refused.
    Changes,
    /// It makes something out of one thing that has versions, a successor or its end: both of the
    /// above.
    CreatesFrom,
    /// Neither: done again it does the same.
    Acts,
    /// Nothing, as what reads; it is asked by POST, because the question is a secret or because it
    /// takes long. On whose terms and by whom it was refused is held as of what changes something.
    Asks,
}

impl Semantics {
    /// Whether it makes something, so that repeating it would make another.
    pub const fn creates(self) -> bool {
        matches!(self, Self::Creates | Self::CreatesFrom)
    }

    /// Whether anything is another after it than before.
    pub const fn changes_something(self) -> bool {
        match self {
            Self::Creates | Self::Changes | Self::CreatesFrom | Self::Acts => true,
            Self::Reads | Self::Asks => false,
        }
    }

    /// Whether it builds on one thing that has versions.
    pub const fn builds_on_a_version(self) -> bool {
        matches!(self, Self::Changes | Self::CreatesFrom)
    }
}

/// One thing that can be asked.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// What it does.
    pub semantics: Semantics,
    /// The method.
    pub method: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// The operation's name in the OpenAPI document.
    pub operation: &'static str,
    /// Who may call.
    pub caller: Requirement,
    /// Whether the installation's operator may, too.
    pub operator: bool,
    /// Bytes of the body, at most.
    pub body_max: usize,
    /// In which language it says no.
    pub language: Language,
    /// The standard it follows, or what it is in our own words.
    pub standard: &'static str,
    /// Parameters of the query.
    pub query: &'static [&'static str],
    /// The orders of a list, as `sort` names them; the first holds where none is asked for.
    pub sorts: &'static [&'static str],
    /// The body it takes.
    pub takes: Shape,
    /// The body it gives.
    pub gives: Shape,
    /// What runs.
    pub handler: Handler,
}

/// A row of OAuth or of the feed and the log. What OAuth's own endpoints do is repeated as its RFCs
/// say.
const fn row(
    method: Verb,
    path: &'static str,
    operation: &'static str,
    caller: Requirement,
    standard: &'static str,
    handler: Handler,
) -> Endpoint {
    let semantics = if matches!(method, Verb::Get) { Reads } else { Acts };
    Endpoint {
        semantics,
        method,
        path,
        operation,
        caller,
        operator: matches!(caller, OperatorAlone),
        body_max: 0,
        language: OAuth,
        standard,
        query: &[],
        sorts: &[],
        takes: Shape::None,
        gives: Shape::None,
        handler,
    }
}

/// A row of the admin API: whoever writes one says first what it does.
const fn api(
    semantics: Semantics,
    method: Verb,
    path: &'static str,
    operation: &'static str,
    caller: Requirement,
    handler: Handler,
) -> Endpoint {
    let standard = "administration (docs/formats.md)";
    let row = row(method, path, operation, caller, standard, handler);
    Endpoint { semantics, language: Problem, body_max: JSON_BYTES_MAX, ..row }
}

impl Endpoint {
    const fn form(self) -> Self {
        Self { body_max: FORM_BYTES_MAX, takes: Shape::Form, gives: Shape::Json, ..self }
    }
    const fn question(self) -> Self {
        Self { semantics: Asks, body_max: REQUEST_BYTES_MAX, takes: Shape::Bytes, ..self }
    }
    const fn short(self) -> Self {
        Self { body_max: ACKNOWLEDGEMENT_BYTES_MAX, takes: Shape::Json, ..self }
    }
    const fn and_operator(self) -> Self {
        Self { operator: true, ..self }
    }
    const fn takes(self, takes: Shape) -> Self {
        Self { takes, ..self }
    }
    const fn gives(self, gives: Shape) -> Self {
        Self { gives, ..self }
    }
    const fn sorts(self, sorts: &'static [&'static str]) -> Self {
        Self { sorts, ..self }
    }
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
}

/// The filters of a list whose rows have states.
const STATES: &[&str] = &["limit", "cursor", "sort", "state", "created_after", "created_before"];
/// Of a list whose rows have states and unique names.
const NAMES: &[&str] =
    &["limit", "cursor", "sort", "state", "q", "created_after", "created_before"];
/// Of a list whose rows have unique names and no states.
const NAMED_ALONE: &[&str] = &["limit", "cursor", "sort", "q", "created_after", "created_before"];
/// Of the list of agents.
#[rustfmt::skip]
const AGENTS: &[&str] = &[
    "limit", "cursor", "sort", "state", "q", "owner", "environment", "created_after",
    "created_before", "review_due_after", "review_due_before", "last_seen_after",
    "last_seen_before",
];
/// Of the list of instances.
#[rustfmt::skip]
const INSTANCES: &[&str] = &[
    "limit", "cursor", "sort", "state", "agent", "created_after", "created_before",
    "expires_after", "expires_before", "last_seen_after", "last_seen_before",
];
/// Of the list of tasks.
#[rustfmt::skip]
const TASKS: &[&str] = &[
    "limit", "cursor", "sort", "state", "agent", "created_after", "created_before",
    "expires_after", "expires_before",
];
/// Of the list of certificates.
#[rustfmt::skip]
const CERTIFICATES: &[&str] = &[
    "limit", "cursor", "sort", "agent", "instance", "created_after", "created_before",
    "expires_after", "expires_before",
];
/// Of the list of credentials.
#[rustfmt::skip]
const CREDENTIALS: &[&str] = &[
    "limit", "cursor", "sort", "state", "agent", "resource", "created_after", "created_before",
    "expires_after", "expires_before", "last_used_after", "last_used_before",
];
/// Of the list of administrators' keys.
#[rustfmt::skip]
const ADMIN_KEYS: &[&str] = &[
    "limit", "cursor", "sort", "state", "created_after", "created_before", "expires_after",
    "expires_before", "last_used_after", "last_used_before",
];
/// Of the list of revocations.
const REVOCATIONS: &[&str] =
    &["limit", "cursor", "sort", "target", "created_after", "created_before"];

/// The orders of a list, the one first that holds where none is asked for. What changes with every
/// token, such as when an agent was last seen, is no order: an index of it would have to be written
/// with every token.
const CREATED: &[&str] = &["created_at", "-created_at"];
/// Of a list that begins with the newest.
const NEWEST: &[&str] = &["-created_at", "created_at"];
/// Of a list whose rows have unique names.
const NAMED: &[&str] = &["created_at", "-created_at", "name", "-name"];
/// Of the list of agents.
#[rustfmt::skip]
const REVIEWED: &[&str] =
    &["created_at", "-created_at", "name", "-name", "review_due_at", "-review_due_at"];
/// Of a list of what expires.
const EXPIRING: &[&str] = &["created_at", "-created_at", "expires_at", "-expires_at"];
/// Of the list of permissions, which are read from their agent.
const BY_RESOURCE: &[&str] = &["resource", "-resource"];
/// Of the list of a person's identities.
const BY_SUBJECT: &[&str] = &["subject", "-subject"];

/// The table.
#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    // OAuth, where the RFCs put it.
    row(Verb::Post, "/o/{org}/oauth/token", "token", Client, "RFC 6749 section 3.2", oauth::token::token).form(),
    row(Verb::Post, "/o/{org}/oauth/introspect", "introspect", Client, "RFC 7662", oauth::tokens::introspect).form(),
    row(Verb::Post, "/o/{org}/oauth/revoke", "revoke", Client, "RFC 7009", oauth::tokens::revoke).form(),
    row(Verb::Post, "/o/{org}/oauth/instances", "spawn_instance", Client, "instances that an agent brings into being (docs/formats.md)", oauth::instances::spawn).form().gives(Shape::of::<InstanceView>()),
    row(Verb::Post, "/o/{org}/oauth/instances/join", "join_instance", Client, "nodes and the processes that they vouch for (docs/formats.md)", oauth::instances::join).form().gives(Shape::of::<KeyedInstance>()),
    row(Verb::Post, "/o/{org}/oauth/instances/attested", "attested_instance", Client, "nodes and the processes that they vouch for (docs/formats.md)", oauth::instances::attested).form().gives(Shape::of::<KeyedInstance>()),
    row(Verb::Post, "/o/{org}/oauth/instances/end", "end_own_instance", Client, "instances that end themselves (docs/formats.md)", oauth::instances::end).form().gives(Shape::of::<InstanceView>()),
    row(Verb::Post, "/o/{org}/oauth/tasks", "create_own_task", Client, "tasks of an agent's own (docs/formats.md)", oauth::tasks::create).form().gives(Shape::of::<TaskView>()),
    row(Verb::Post, "/o/{org}/oauth/tasks/list", "own_tasks", Client, "tasks of an agent's own (docs/formats.md)", oauth::tasks::list).form().gives(Shape::list_of::<TaskView>()),
    row(Verb::Post, "/o/{org}/oauth/tasks/end", "end_own_task", Client, "tasks of an agent's own (docs/formats.md)", oauth::tasks::end).form().gives(Shape::of::<TaskView>()),
    row(Verb::Post, "/o/{org}/oauth/certificates", "issue_certificate", Client, "SPIFFE X509-SVID, RFC 2986", oauth::certificates::issue).form().gives(Shape::of::<Svid>()),
    row(Verb::Post, "/o/{org}/oauth/jwt-svids", "issue_jwt_svid", Client, "SPIFFE JWT-SVID", oauth::jwt_svids::issue).form().gives(Shape::of::<IssuedJwtSvid>()),
    row(Verb::Post, "/o/{org}/oauth/federated-bundles", "federated_bundles", Client, "SPIFFE Workload API sections 5.2, 6.2 (docs/formats.md)", oauth::spiffe::federated).form().gives(Shape::of::<Federated>()),
    row(Verb::Get, "/.well-known/oauth-authorization-server/o/{org}", "metadata", Anyone, "RFC 8414 section 3", oauth::wellknown::metadata).gives(Shape::Json),
    row(Verb::Get, "/.well-known/openid-configuration/o/{org}", "metadata_openid_inserted", Anyone, "RFC 8414 section 5", oauth::wellknown::metadata).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/.well-known/openid-configuration", "metadata_openid_appended", Anyone, "OpenID Connect Discovery 1.0 section 4", oauth::wellknown::metadata).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/.well-known/jwks.json", "jwks", Anyone, "RFC 7517", oauth::wellknown::jwks).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/.well-known/feed-jwks.json", "feed_jwks", Anyone, "RFC 7517", oauth::wellknown::feed_jwks).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/.well-known/biscuit-jwks.json", "biscuit_jwks", Anyone, "RFC 8037 section 2", oauth::wellknown::biscuit_jwks).gives(Shape::Json),

    // Token Status List: whether tokens were revoked, for those who follow no feed.
    row(Verb::Get, "/o/{org}/spiffe/bundle", "spiffe_bundle", Anyone, "SPIFFE Federation section 5.2.1", oauth::spiffe::bundle).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/status-lists", "status_lists", Anyone, "Token Status List section 9.2", oauth::status_list::named).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/status-lists/{list}", "status_list", Anyone, "Token Status List section 8", oauth::status_list::list).query(&["time"]).gives(Shape::Text),

    // Which certificates were revoked, for those who know X.509 alone.
    row(Verb::Get, "/o/{org}/ca/{authority}/crl", "certificate_list", Anyone, "RFC 5280 section 5", oauth::certificate_status::list).gives(Shape::Bytes),
    row(Verb::Get, "/o/{org}/ca/crls", "certificate_lists", Anyone, "RFC 7468 section 6", oauth::certificate_status::lists).gives(Shape::Text),
    row(Verb::Get, "/o/{org}/ca/{authority}/certificate", "authority_certificate", Anyone, "RFC 5280 section 4.2.2.1", oauth::certificate_status::authority).gives(Shape::Bytes),
    row(Verb::Post, "/o/{org}/ocsp", "certificate_status", Anyone, "RFC 6960 appendix A.1", oauth::certificate_status::asked).question().gives(Shape::Bytes),
    row(Verb::Get, "/o/{org}/ocsp/{*request}", "certificate_status_in_path", Anyone, "RFC 5019 section 5", oauth::certificate_status::asked_in_path).gives(Shape::Bytes),

    // The revocation feed and the log.
    row(Verb::Get, "/o/{org}/revocations", "revocations_snapshot", Verifier, "the revocation graph (docs/formats.md)", feed::snapshot).query(&["nonce"]).gives(Shape::Text),
    row(Verb::Get, "/o/{org}/revocations/feed", "revocations_feed", Verifier, "the revocation graph (docs/formats.md)", feed::follow).query(&["gen", "rev", "nonce", "follower", "name", "age_max"]).gives(Shape::Events),
    row(Verb::Post, "/o/{org}/revocations/acknowledgements", "acknowledge_revocations", Verifier, "the revocation graph (docs/formats.md)", feed::acknowledge).short().gives(Shape::Json),
    row(Verb::Get, "/o/{org}/log/{log}/checkpoint", "log_checkpoint", Verifier, "C2SP tlog-checkpoint", log::checkpoint).gives(Shape::Text),
    row(Verb::Get, "/o/{org}/log/{log}/consistency", "log_consistency", Verifier, "RFC 6962 section 2.1.2", log::consistency).query(&["from", "to"]).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/log/{log}/inclusion", "log_inclusion", Verifier, "RFC 6962 section 2.1.1", log::inclusion).query(&["index", "size"]).gives(Shape::Json),
    row(Verb::Get, "/o/{org}/log/{log}/tile/{*tile}", "log_tile", Verifier, "C2SP tlog-tiles", log::tile).gives(Shape::Bytes),

    // Administration.
    api(Creates, Verb::Post, "/v1/orgs", "create_org", Admin(Organizations), admin::organizations::create).and_operator().takes(Shape::of::<CreateOrganization>()).gives(Shape::of::<CreatedOrganization>()),
    api(Reads, Verb::Get, "/v1/orgs", "list_orgs", Admin(Read), admin::organizations::list).and_operator().query(STATES).sorts(CREATED).gives(Shape::list_of::<Organization>()),
    api(Reads, Verb::Get, "/v1/orgs/{key}", "get_org", Admin(Read), admin::organizations::get).and_operator().gives(Shape::of::<Organization>()),
    api(Changes, Verb::Patch, "/v1/orgs/{key}", "update_org", Admin(Registry), admin::organizations::update).takes(Shape::of::<UpdateOrganization>()).gives(Shape::of::<Organization>()),
    api(Changes, Verb::Post, "/v1/orgs/{key}/suspend", "suspend_org", Admin(MayRevoke), admin::organizations::suspend).and_operator().takes(Shape::of::<Reason>()).gives(Shape::of::<Organization>()),
    api(Changes, Verb::Post, "/v1/orgs/{key}/activate", "activate_org", Admin(MayRevoke), admin::organizations::activate).and_operator().takes(Shape::of::<Reason>()).gives(Shape::of::<Organization>()),

    api(Creates, Verb::Post, "/v1/admin-keys", "create_admin_key", Admin(Administrators), admin::admin_keys::create).takes(Shape::of::<CreateAdminKey>()).gives(Shape::of::<AdminKeyView>()),
    api(Reads, Verb::Get, "/v1/admin-keys", "list_admin_keys", Admin(Read), admin::admin_keys::list).query(ADMIN_KEYS).sorts(EXPIRING).gives(Shape::list_of::<AdminKeyView>()),
    api(Reads, Verb::Get, "/v1/admin-keys/{key}", "get_admin_key", Admin(Read), admin::admin_keys::get).gives(Shape::of::<AdminKeyView>()),
    api(CreatesFrom, Verb::Post, "/v1/admin-keys/{key}/rotate", "rotate_admin_key", Admin(Administrators), admin::admin_keys::rotate).takes(Shape::of::<RotateAdminKey>()).gives(Shape::of::<AdminKeyView>()),

    api(Creates, Verb::Post, "/v1/persons", "create_person", Admin(Registry), admin::persons::create).takes(Shape::of::<CreatePerson>()).gives(Shape::of::<Person>()),
    api(Reads, Verb::Get, "/v1/persons", "list_persons", Admin(Read), admin::persons::list).query(NAMES).sorts(NAMED).gives(Shape::list_of::<Person>()),
    api(Reads, Verb::Get, "/v1/persons/{key}", "get_person", Admin(Read), admin::persons::get).gives(Shape::of::<Person>()),
    api(Changes, Verb::Patch, "/v1/persons/{key}", "update_person", Admin(Registry), admin::persons::update).takes(Shape::of::<UpdatePerson>()).gives(Shape::of::<Person>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/suspend", "suspend_person", Admin(MayRevoke), admin::persons::suspend).takes(Shape::of::<Reason>()).gives(Shape::of::<Person>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/activate", "activate_person", Admin(MayRevoke), admin::persons::activate).takes(Shape::of::<Reason>()).gives(Shape::of::<Person>()),
    api(Reads, Verb::Get, "/v1/persons/{key}/permissions", "list_person_permissions", Admin(Read), admin::persons::permissions).query(&["limit", "cursor", "sort"]).sorts(BY_RESOURCE).gives(Shape::list_of::<PermissionView>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/grant", "grant_person", Admin(Registry), admin::persons::grant).takes(Shape::of::<GrantPerson>()).gives(Shape::of::<Person>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/ungrant", "ungrant_person", Admin(Registry), admin::persons::ungrant).takes(Shape::of::<GrantPerson>()).gives(Shape::of::<Person>()),
    api(Reads, Verb::Get, "/v1/persons/{key}/identities", "list_person_identities", Admin(Read), admin::persons::identities).query(&["limit", "cursor", "sort"]).sorts(BY_SUBJECT).gives(Shape::list_of::<Identity>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/link", "link_person", Admin(Registry), admin::persons::link).takes(Shape::of::<LinkPerson>()).gives(Shape::of::<Person>()),
    api(Changes, Verb::Post, "/v1/persons/{key}/unlink", "unlink_person", Admin(Registry), admin::persons::unlink).takes(Shape::of::<LinkPerson>()).gives(Shape::of::<Person>()),

    api(Creates, Verb::Post, "/v1/federations", "create_federation", Admin(Registry), admin::federations::create).takes(Shape::of::<CreateFederation>()).gives(Shape::of::<Federation>()),
    api(Reads, Verb::Get, "/v1/federations", "list_federations", Admin(Read), admin::federations::list).query(NAMES).sorts(NAMED).gives(Shape::list_of::<Federation>()),
    api(Reads, Verb::Get, "/v1/federations/{key}", "get_federation", Admin(Read), admin::federations::get).gives(Shape::of::<Federation>()),
    api(Changes, Verb::Patch, "/v1/federations/{key}", "update_federation", Admin(Registry), admin::federations::update).takes(Shape::of::<UpdateFederation>()).gives(Shape::of::<Federation>()),
    api(Changes, Verb::Post, "/v1/federations/{key}/suspend", "suspend_federation", Admin(MayRevoke), admin::federations::suspend).takes(Shape::of::<Reason>()).gives(Shape::of::<Federation>()),
    api(Changes, Verb::Post, "/v1/federations/{key}/activate", "activate_federation", Admin(MayRevoke), admin::federations::activate).takes(Shape::of::<Reason>()).gives(Shape::of::<Federation>()),

    api(Creates, Verb::Post, "/v1/trust-domains", "add_trust_domain", Admin(Registry), admin::trust_domains::add).takes(Shape::of::<AddTrustDomain>()).gives(Shape::of::<TrustDomainView>()),
    api(Reads, Verb::Get, "/v1/trust-domains", "list_trust_domains", Admin(Read), admin::trust_domains::list).query(NAMED_ALONE).sorts(NAMED).gives(Shape::list_of::<TrustDomainView>()),
    api(Reads, Verb::Get, "/v1/trust-domains/{key}", "get_trust_domain", Admin(Read), admin::trust_domains::get).gives(Shape::of::<TrustDomainView>()),
    api(Acts, Verb::Post, "/v1/trust-domains/{key}/refresh", "refresh_trust_domain", Admin(Registry), admin::trust_domains::refresh).takes(Shape::of::<RefreshTrustDomain>()).gives(Shape::of::<TrustDomainView>()),
    api(Acts, Verb::Delete, "/v1/trust-domains/{key}", "remove_trust_domain", Admin(Registry), admin::trust_domains::remove).gives(Shape::of::<TrustDomainView>()),

    api(Creates, Verb::Post, "/v1/resources", "create_resource", Admin(Registry), admin::resources::create).takes(Shape::of::<CreateResource>()).gives(Shape::of::<Resource>()),
    api(Reads, Verb::Get, "/v1/resources", "list_resources", Admin(Read), admin::resources::list).query(NAMES).sorts(NAMED).gives(Shape::list_of::<Resource>()),
    api(Reads, Verb::Get, "/v1/resources/{key}", "get_resource", Admin(Read), admin::resources::get).gives(Shape::of::<Resource>()),
    api(Changes, Verb::Patch, "/v1/resources/{key}", "update_resource", Admin(Registry), admin::resources::update).takes(Shape::of::<UpdateResource>()).gives(Shape::of::<Resource>()),
    api(Changes, Verb::Post, "/v1/resources/{key}/suspend", "suspend_resource", Admin(MayRevoke), admin::resources::suspend).takes(Shape::of::<Reason>()).gives(Shape::of::<Resource>()),
    api(Changes, Verb::Post, "/v1/resources/{key}/activate", "activate_resource", Admin(MayRevoke), admin::resources::activate).takes(Shape::of::<Reason>()).gives(Shape::of::<Resource>()),

    api(Creates, Verb::Post, "/v1/agents", "create_agent", Admin(Registry), admin::agents::create).takes(Shape::of::<CreateAgent>()).gives(Shape::of::<Agent>()),
    api(Reads, Verb::Get, "/v1/agents", "list_agents", Admin(Read), admin::agents::list).query(AGENTS).sorts(REVIEWED).gives(Shape::list_of::<Agent>()),
    api(Reads, Verb::Get, "/v1/agents/{key}", "get_agent", Admin(Read), admin::agents::get).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Patch, "/v1/agents/{key}", "update_agent", Admin(Registry), admin::agents::update).takes(Shape::of::<UpdateAgent>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/activate", "activate_agent", Admin(Registry), admin::agents::activate).takes(Shape::of::<Reason>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/suspend", "suspend_agent", Admin(MayRevoke), admin::agents::suspend).takes(Shape::of::<Reason>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/decommission", "decommission_agent", Admin(MayRevoke), admin::agents::decommission).takes(Shape::of::<Reason>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/strip", "strip_agent", Admin(MayRevoke), admin::agents::strip).takes(Shape::of::<Strip>()).gives(Shape::of::<Stripped>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/allow-impersonation", "allow_impersonation", Admin(Administrators), admin::agents::allow_impersonation).takes(Shape::of::<Impersonate>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Post, "/v1/agents/{key}/end-impersonation", "end_impersonation", Admin(MayRevoke), admin::agents::end_impersonation).takes(Shape::of::<Impersonate>()).gives(Shape::of::<Agent>()),
    api(Reads, Verb::Get, "/v1/agents/{key}/ghosts", "get_ghosts", Admin(Read), admin::agents::ghosts).gives(Shape::of::<Ghosts>()),
    api(Reads, Verb::Get, "/v1/agents/{key}/permissions", "list_permissions", Admin(Read), admin::agents::permissions).query(&["limit", "cursor", "sort"]).sorts(BY_RESOURCE).gives(Shape::list_of::<PermissionView>()),
    api(Changes, Verb::Put, "/v1/agents/{key}/permissions/{resource}", "set_permission", Admin(Registry), admin::agents::set_permission).takes(Shape::of::<SetPermission>()).gives(Shape::of::<Agent>()),
    api(Changes, Verb::Delete, "/v1/agents/{key}/permissions/{resource}", "delete_permission", Admin(Registry), admin::agents::delete_permission).gives(Shape::of::<Agent>()),

    api(Creates, Verb::Post, "/v1/instances", "create_instance", Admin(Registry), admin::instances::create).takes(Shape::of::<CreateInstance>()).gives(Shape::of::<InstanceView>()),
    api(Reads, Verb::Get, "/v1/instances", "list_instances", Admin(Read), admin::instances::list).query(INSTANCES).sorts(CREATED).gives(Shape::list_of::<InstanceView>()),
    api(Reads, Verb::Get, "/v1/instances/{key}", "get_instance", Admin(Read), admin::instances::get).gives(Shape::of::<InstanceView>()),

    api(Creates, Verb::Post, "/v1/tasks", "create_task", Admin(Registry), admin::tasks::create).takes(Shape::of::<CreateTask>()).gives(Shape::of::<TaskView>()),
    api(Reads, Verb::Get, "/v1/tasks", "list_tasks", Admin(Read), admin::tasks::list).query(TASKS).sorts(CREATED).gives(Shape::list_of::<TaskView>()),
    api(Reads, Verb::Get, "/v1/tasks/{key}", "get_task", Admin(Read), admin::tasks::get).gives(Shape::of::<TaskView>()),
    api(Changes, Verb::Post, "/v1/tasks/{key}/end", "end_task", Admin(MayRevoke), admin::tasks::end).takes(Shape::of::<Reason>()).gives(Shape::of::<TaskView>()),

    api(Creates, Verb::Post, "/v1/credentials", "create_credential", Admin(Registry), admin::credentials::create).takes(Shape::of::<CreateCredential>()).gives(Shape::of::<CredentialView>()),
    api(Reads, Verb::Get, "/v1/credentials", "list_credentials", Admin(Read), admin::credentials::list).query(CREDENTIALS).sorts(EXPIRING).gives(Shape::list_of::<CredentialView>()),
    api(Reads, Verb::Get, "/v1/credentials/{key}", "get_credential", Admin(Read), admin::credentials::get).gives(Shape::of::<CredentialView>()),

    api(CreatesFrom, Verb::Post, "/v1/credentials/{key}/rotate", "rotate_credential", Admin(Registry), admin::credentials::rotate).takes(Shape::of::<RotateCredential>()).gives(Shape::of::<RotatedCredential>()),
    api(Asks, Verb::Post, "/v1/credentials/identify", "identify_credential", Admin(Audit), admin::credentials::identify).takes(Shape::of::<Identify>()).gives(Shape::of::<Identified>()),

    api(Creates, Verb::Post, "/v1/signing-keys/rotate", "rotate_signing_key", Admin(Registry), admin::revocations::rotate_signing_key).takes(Shape::of::<RotateKey>()).gives(Shape::of::<RotatedKeys>()),
    api(Reads, Verb::Get, "/v1/signing-keys", "list_signing_keys", Admin(Read), admin::revocations::signing_keys).query(STATES).sorts(CREATED).gives(Shape::list_of::<SigningKeyView>()),
    api(Reads, Verb::Get, "/v1/ca", "get_ca", Admin(Read), admin::ca::show).gives(Shape::of::<CaView>()),
    api(Reads, Verb::Get, "/v1/ca/csr", "get_ca_csr", Admin(Registry), admin::ca::request).gives(Shape::of::<CaRequest>()),
    api(Creates, Verb::Post, "/v1/ca/certificate", "import_ca_certificate", Admin(Registry), admin::ca::import).takes(Shape::of::<ImportCertificate>()).gives(Shape::of::<CaView>()),
    api(Reads, Verb::Get, "/v1/ca/crls", "get_crls", Admin(Read), admin::ca::lists).gives(Shape::of::<ListsView>()),
    api(Reads, Verb::Get, "/v1/certificates", "list_certificates", Admin(Read), admin::certificates::list).query(CERTIFICATES).sorts(CREATED).gives(Shape::list_of::<CertificateView>()),
    api(Reads, Verb::Get, "/v1/certificates/{key}", "get_certificate", Admin(Read), admin::certificates::get).gives(Shape::of::<CertificateView>()),
    api(CreatesFrom, Verb::Post, "/v1/revocations", "revoke_id", Admin(MayRevoke), admin::revocations::create).takes(Shape::of::<Revoke>()).gives(Shape::of::<RevocationView>()),
    api(Acts, Verb::Post, "/v1/revocations/undo", "undo_revocation", Admin(MayRevoke), admin::revocations::undo).takes(Shape::of::<Undo>()).gives(Shape::of::<RevocationView>()),
    api(Creates, Verb::Post, "/v1/drills", "run_drill", Admin(MayRevoke), admin::drills::run).takes(Shape::of::<drill::RunDrill>()).gives(Shape::of::<drill::Drilled>()),
    api(Reads, Verb::Get, "/v1/revocations/preview", "preview_revocation", Admin(MayRevoke), admin::revocations::preview).query(&["target"]).gives(Shape::of::<revocation::Effect>()),
    api(Reads, Verb::Get, "/v1/revocations/acknowledgements", "get_acknowledgements", Admin(Read), admin::revocations::acknowledgements).query(&["rev", "named", "unfollowed"]).gives(Shape::of::<Propagation>()),
    api(Reads, Verb::Get, "/v1/revocations", "list_revocations", Admin(Read), admin::revocations::list).query(REVOCATIONS).sorts(NEWEST).gives(Shape::list_of::<RevocationView>()),

    api(Reads, Verb::Get, "/v1/events", "list_events", Admin(Audit), admin::events::list).query(&["limit", "cursor", "sort", "after", "type"]).sorts(CREATED).gives(Shape::list_of::<EventView>()),
    api(Reads, Verb::Get, "/v1/events/export", "export_events", Admin(Audit), admin::events::export).gives(Shape::Lines),
    api(Reads, Verb::Get, "/v1/events/{key}", "get_event", Admin(Audit), admin::events::get).gives(Shape::of::<EventView>()),
    api(Reads, Verb::Get, "/v1/log", "get_log", Admin(Audit), admin::events::lanes).gives(Shape::Json),
    api(Acts, Verb::Post, "/v1/log/prune", "prune_log", Admin(Administrators), admin::events::prune).takes(Shape::of::<Prune>()).gives(Shape::of::<PruneReport>()),
    api(Asks, Verb::Post, "/v1/log/fsck", "check_log", Admin(Audit), admin::events::fsck).gives(Shape::Json),

    api(Changes, Verb::Post, "/v1/restore/waive", "waive_restore", Admin(Administrators), admin::organizations::waive).takes(Shape::of::<Waive>()).gives(Shape::of::<Organization>()),

    api(Acts, Verb::Post, "/v1/root/rotate", "rotate_root", OperatorAlone, admin::root::rotate).gives(Shape::of::<RotatedRoot>()),

    // The process itself.
    api(Reads, Verb::Get, "/livez", "live", Anyone, health::live).gives(Shape::Text),
    api(Reads, Verb::Get, "/readyz", "ready", Anyone, health::ready).query(&["verbose"]).gives(Shape::Json),
    api(Reads, Verb::Get, "/openapi.json", "openapi", Anyone, health::openapi).gives(Shape::Json),
];

/// What reads is asked by GET, and nothing else is.
const _: () = {
    let mut row = 0;
    while row < ENDPOINTS.len() {
        let reads = matches!(ENDPOINTS[row].semantics, Reads);
        assert!(reads == matches!(ENDPOINTS[row].method, Verb::Get));
        row += 1;
    }
};
