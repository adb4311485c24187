//! The nouns' port: each method is one function of that noun's file.

use accredit_domain::Fault;
use accredit_domain::federation::{Federation, Identity, KeptKeys};
use accredit_domain::keys::SigningKey;
use accredit_domain::ports::{
    Audited, BoxFuture, Change, CommitError, Committed, Lookup, Page, Registry, Room,
};
use accredit_domain::registry::credential_use::UseName;
use accredit_domain::registry::jwks::Followed;
use accredit_domain::registry::operator::OperatorKey;
use accredit_domain::registry::{
    Agent, Credential, Instance, Listed, Organization, Person, Resource, Task,
};
use accredit_domain::terms::{KeptAnswer, Once};
use accredit_domain::trust_domains::ForeignDomain;
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, InstanceId, OrganizationId, PersonId, ResourceId,
    TaskId, TokenId,
};
use accredit_wire::time::Time;
use accredit_wire::x509::spiffe::TrustDomain;

use crate::driver::Conn;
use crate::member::Work;
use crate::{
    SqlStore, agents, answers, credentials, federations, followed, foreign_domains, holdings,
    identities, instances, keys, operators, organizations, persons, resources, tasks,
};

impl Registry for SqlStore {
    fn commit(&self, change: Audited<Change>) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let work = Work::Change(Box::new(change.into_parts()));
            Ok(self.write("commit a change", work).await?)
        })
    }

    fn organization(
        &self,
        key: Lookup<OrganizationId>,
    ) -> BoxFuture<'_, Result<Option<Organization>, Fault>> {
        Box::pin(self.read("read an organization", move |conn| organizations::find(conn, &key)))
    }

    fn organization_count(&self) -> BoxFuture<'_, Result<u64, Fault>> {
        const COUNT: &str = "SELECT count(*) FROM organization";
        Box::pin(self.read("count organizations", move |conn| conn.number(COUNT, &[])))
    }

    fn organizations(&self, page: Page) -> BoxFuture<'_, Result<Listed<Organization>, Fault>> {
        Box::pin(self.read("list organizations", move |conn| organizations::list(conn, &page)))
    }

    fn person(
        &self,
        org: OrganizationId,
        key: Lookup<PersonId>,
    ) -> BoxFuture<'_, Result<Option<Person>, Fault>> {
        self.read_in("read a person", org, move |conn, org| persons::find(conn, org, &key))
    }

    fn persons(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Person>, Fault>> {
        self.read_in("list persons", org, move |conn, org| persons::list(conn, org, &page))
    }

    fn resource(
        &self,
        org: OrganizationId,
        key: Lookup<ResourceId>,
    ) -> BoxFuture<'_, Result<Option<Resource>, Fault>> {
        self.read_in("read a resource", org, move |conn, org| resources::find(conn, org, &key))
    }

    fn resources(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Resource>, Fault>> {
        self.read_in("list resources", org, move |conn, org| resources::list(conn, org, &page))
    }

    fn federation(
        &self,
        org: OrganizationId,
        key: Lookup<FederationId>,
    ) -> BoxFuture<'_, Result<Option<Federation>, Fault>> {
        self.read_in("read a federation", org, move |conn, org| federations::find(conn, org, &key))
    }

    fn federations(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Federation>, Fault>> {
        self.read_in("list federations", org, move |conn, org| federations::list(conn, org, &page))
    }

    fn federation_keys(
        &self,
        org: OrganizationId,
        federation: FederationId,
    ) -> BoxFuture<'_, Result<Option<KeptKeys>, Fault>> {
        self.read_in("read a federation's keys", org, move |conn, org| {
            federations::keys(conn, org, federation)
        })
    }

    fn federation_keys_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<KeptKeys>, Fault>> {
        self.read_in("find federations' keys that are due", org, move |conn, org| {
            federations::keys_due(conn, org, now, limit)
        })
    }

    fn identities(
        &self,
        org: OrganizationId,
        person: PersonId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Identity>, Fault>> {
        self.read_in("list a person's identities", org, move |conn, org| {
            identities::of_person(conn, org, person, limit)
        })
    }

    fn agent(
        &self,
        org: OrganizationId,
        key: Lookup<AgentId>,
        now: Time,
    ) -> BoxFuture<'_, Result<Option<Agent>, Fault>> {
        self.read_in("read an agent", org, move |conn, org| agents::find(conn, org, &key, now))
    }

    fn agents(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Agent>, Fault>> {
        self.read_in("list agents", org, move |conn, org| agents::list(conn, org, &page))
    }

    fn agents_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Agent>, Fault>> {
        self.read_in("list agents to look at", org, move |conn, org| {
            agents::due(conn, org, now, limit)
        })
    }

    fn instance(
        &self,
        org: OrganizationId,
        id: InstanceId,
    ) -> BoxFuture<'_, Result<Option<Instance>, Fault>> {
        self.read_in("read an instance", org, move |conn, org| instances::find(conn, org, id))
    }

    fn instances(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Instance>, Fault>> {
        self.read_in("list instances", org, move |conn, org| instances::list(conn, org, &page))
    }

    fn task(&self, org: OrganizationId, id: TaskId) -> BoxFuture<'_, Result<Option<Task>, Fault>> {
        self.read_in("read a task", org, move |conn, org| tasks::find(conn, org, id))
    }

    fn task_with_grant(
        &self,
        org: OrganizationId,
        grant: TokenId,
    ) -> BoxFuture<'_, Result<Option<Task>, Fault>> {
        self.read_in("read a task", org, move |conn, org| tasks::with_grant(conn, org, grant))
    }

    fn held_of(&self, org: OrganizationId, room: Room) -> BoxFuture<'_, Result<u64, Fault>> {
        self.read_in("look for room", org, move |conn, org| holdings::held_of(conn, org, room))
    }

    fn tasks(&self, org: OrganizationId, page: Page) -> BoxFuture<'_, Result<Listed<Task>, Fault>> {
        self.read_in("list tasks", org, move |conn, org| tasks::list(conn, org, &page))
    }

    fn credential(
        &self,
        org: OrganizationId,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<Option<Credential>, Fault>> {
        self.read_in("read a credential", org, move |conn, org| credentials::find(conn, org, id))
    }

    fn credentials(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Credential>, Fault>> {
        self.read_in("list credentials", org, move |conn, org| credentials::list(conn, org, &page))
    }

    fn uses_of(
        &self,
        org: OrganizationId,
        holder: AnyId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UseName, CredentialId)>, Fault>> {
        self.read_in("list uses", org, move |conn, org| {
            credentials::uses_of(conn, (org, &holder.to_string()), now, limit)
        })
    }

    fn keys_of_instance(
        &self,
        org: OrganizationId,
        (instance, r#use): (InstanceId, UseName),
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Credential>, Fault>> {
        self.read_in("list an instance's keys", org, move |conn, org| {
            credentials::keys_of_instance(conn, org, (instance, &r#use), now, limit)
        })
    }

    fn followed(
        &self,
        org: OrganizationId,
        agent: AgentId,
    ) -> BoxFuture<'_, Result<Option<Followed>, Fault>> {
        self.read_in("find where keys are followed", org, move |conn, org| {
            followed::find(conn, org, agent)
        })
    }

    fn followed_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Followed>, Fault>> {
        self.read_in("find key sets that are due", org, move |conn, org| {
            followed::due(conn, org, now, limit)
        })
    }

    fn followed_keys(
        &self,
        org: OrganizationId,
        agent: AgentId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Credential>, Fault>> {
        self.read_in("list keys that are followed", org, move |conn, org| {
            credentials::followed_keys(conn, org, agent, now, limit)
        })
    }

    fn foreign_domain(
        &self,
        org: OrganizationId,
        name: TrustDomain,
    ) -> BoxFuture<'_, Result<Option<ForeignDomain>, Fault>> {
        self.read_in("find another trust domain", org, move |conn, org| {
            foreign_domains::find(conn, org, &name)
        })
    }

    fn foreign_domains(
        &self,
        org: OrganizationId,
    ) -> BoxFuture<'_, Result<Vec<ForeignDomain>, Fault>> {
        self.read_in("list other trust domains", org, foreign_domains::all)
    }

    fn foreign_domains_due(
        &self,
        org: OrganizationId,
        now: Time,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ForeignDomain>, Fault>> {
        self.read_in("find bundles that are due", org, move |conn, org| {
            foreign_domains::due(conn, org, now, limit)
        })
    }

    fn admin_keys(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Credential>, Fault>> {
        self.read_in("list administrators' keys", org, move |conn, org| {
            credentials::admin_keys(conn, org, &page)
        })
    }

    fn owners_until(
        &self,
        org: OrganizationId,
        apart: CredentialId,
    ) -> BoxFuture<'_, Result<Option<Time>, Fault>> {
        self.read_in("find owners", org, move |conn, org| {
            credentials::owners_until(conn, org, apart)
        })
    }

    fn operator_key(&self, id: CredentialId) -> BoxFuture<'_, Result<Option<OperatorKey>, Fault>> {
        Box::pin(self.read("find an operator's key", move |conn| operators::find(conn, id)))
    }

    fn kept_answer(
        &self,
        once: Once,
        now: Time,
    ) -> BoxFuture<'_, Result<Option<KeptAnswer>, Fault>> {
        let find = move |conn: &mut dyn Conn| answers::find(conn, &once, now);
        Box::pin(self.read("read an answer", find))
    }

    fn revocations_age_min(
        &self,
        org: OrganizationId,
    ) -> BoxFuture<'_, Result<Option<u32>, Fault>> {
        self.read_in("read age bounds", org, resources::revocations_age_min)
    }

    fn signing_keys(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<SigningKey>, Fault>> {
        Box::pin(self.read("read signing keys", move |conn| keys::all(conn, org)))
    }

    fn keys_in_token(&self) -> BoxFuture<'_, Result<Vec<SigningKey>, Fault>> {
        Box::pin(self.read("read the keys that are in a token", keys::in_token))
    }
}
