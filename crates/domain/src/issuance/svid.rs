//! SPIFFE client authentication: an instance that is known by what we gave it, a certificate or a token,
//! while that stands.
//!
//! What is got with it hangs on all that it hangs on, and is over with it ([`within`], [`hang_on`]), so
//! that nobody has by it what outlives it ([`not_by_own`]).

use std::sync::Arc;
use std::time::Duration;

use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, PersonId, TaskId, TokenId};
use accredit_wire::jwt_svid::JwtSvid;
use accredit_wire::time::Time;
use accredit_wire::token::LINEAGE_MAX;
use accredit_wire::x509::spiffe::SpiffeId;

use super::admission::{AgentFacts, CredentialFacts, HolderFacts, ProofFacts};
use super::authenticate::{AuthenticatedClient, NotAuthenticated, usable};
use super::grants::actor::acting;
use super::grants::token_exchange::OWN_IDS;
use super::grants::{Origin, ProposedGrant, descent};
use super::vouched;
use crate::ca;
use crate::ca::issued::IssuedCertificate;
use crate::context::Cx;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::task;

/// An SVID of ours that a client showed.
#[derive(Clone, Debug)]
pub struct ShownSvid {
    /// Its id, by which it is revoked.
    pub id: TokenId,
    /// The instance's agent.
    pub agent: AgentId,
    /// Whom it names.
    pub instance: InstanceId,
    /// SHA-256 of its DER where it is a certificate; nothing of a token, which whoever has it can show.
    pub digest: Option<[u8; 32]>,
    /// What it hangs on.
    pub lineage: Vec<AnyId>,
    /// The revocation counter that its decision saw.
    pub rev: u64,
    /// When it is over.
    pub expires_at: Time,
}

impl From<IssuedCertificate> for ShownSvid {
    fn from(row: IssuedCertificate) -> Self {
        Self {
            id: row.id,
            agent: row.agent,
            instance: row.instance,
            digest: Some(row.digest),
            lineage: row.lineage,
            rev: row.rev,
            expires_at: row.expires_at,
        }
    }
}

impl From<JwtSvid> for ShownSvid {
    fn from(svid: JwtSvid) -> Self {
        Self {
            id: svid.id,
            agent: svid.agent,
            instance: svid.instance,
            digest: None,
            lineage: svid.lineage(),
            rev: svid.rev,
            expires_at: Time::from_seconds(svid.expires_at),
        }
    }
}

/// The instance that an SVID of ours names, as a client, where both stand.
pub(super) async fn client(
    cx: &Cx,
    svid: ShownSvid,
    method: &'static str,
    rev: u64,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let credential = credential(cx, &svid).await?;
    let standing = usable(cx, &credential).and_then(|()| stands(cx, &svid));
    let client = AuthenticatedClient {
        svid: Some(Arc::new(svid)),
        ..AuthenticatedClient::new(credential, method, rev)
    };
    client.unless_ended(standing)
}

/// Whether nothing was ended that an SVID hangs on, and it is not over by our own clock, which set its
/// end.
fn stands(cx: &Cx, svid: &ShownSvid) -> Result<(), Refusal> {
    let (what, hint, over, revoked) = match svid.digest {
        Some(_) => (
            "certificate",
            "the instance asks for a new one: `accredit certificate issue`",
            Rule::CertificateLifetime,
            Rule::CertificateRevoked,
        ),
        None => (
            "JWT-SVID",
            "the instance asks for a new one: `POST /oauth/jwt-svids`, or its Workload API",
            Rule::AssertionLifetime,
            Rule::SvidRevoked,
        ),
    };
    if svid.expires_at <= cx.now {
        let detail = format!("{what} `{}` expired at {}", svid.id, svid.expires_at);
        return Err(Refusal::new(over, detail, hint));
    }
    match cx.tenant.revoked().is_dead(svid.lineage.iter().copied(), svid.rev) {
        None => Ok(()),
        Some(ended) => {
            let detail = if ended == svid.id.any() {
                format!("{what} `{}` was revoked", svid.id)
            } else {
                format!("{what} `{}` has ended with `{ended}`", svid.id)
            };
            Err(Refusal::new(revoked, detail, hint))
        }
    }
}

/// The credential that an SVID was got with, as that of the instance that it names: a rule on a
/// platform's tokens is its agent's.
async fn credential(cx: &Cx, svid: &ShownSvid) -> Result<Arc<CredentialFacts>, Fault> {
    let fault = |why| Fault::new("SVID", why);
    // The first: those of whoever stands before the instance come behind.
    let own = svid.lineage.iter().find_map(|id| CredentialId::try_from(*id).ok());
    let own = own.ok_or_else(|| fault("it was got with no credential"))?;
    let facts = cx.world.store.credential_facts(cx.tenant.id, own).await?.found;
    let facts = facts.ok_or_else(|| fault("its credential is gone"))?;
    match &facts.holder {
        HolderFacts::Instance { id, .. } if *id == svid.instance => Ok(facts),
        HolderFacts::Agent(agent)
            if *agent == svid.agent && matches!(facts.proof, ProofFacts::Workload) =>
        {
            of_workload(cx, svid, &facts).await
        }
        _ => Err(fault("its credential is another's")),
    }
}

/// A rule's credential, as that of the instance that it brought into being.
async fn of_workload(
    cx: &Cx,
    svid: &ShownSvid,
    rule: &CredentialFacts,
) -> Result<Arc<CredentialFacts>, Fault> {
    let found = cx.world.store.instance(cx.tenant.id, svid.instance).await?;
    let instance = found.ok_or_else(|| Fault::new("SVID", "its instance is gone"))?;
    let of = (instance.agent, instance.id);
    Ok(Arc::new(rule.of_workload(of, (instance.state, instance.expires_at))))
}

/// A proposal within what its client's SVID is: not for longer, and for no other task.
pub(super) fn within(cx: &Cx, mut proposed: ProposedGrant) -> Result<ProposedGrant, Refusal> {
    let Some(svid) = &proposed.svid else { return Ok(proposed) };
    let left = svid.expires_at.since(cx.now).as_secs();
    proposed.lifetime = proposed.lifetime.min(u32::try_from(left).unwrap_or(u32::MAX));
    let Some(task) = task_of(svid) else {
        return Ok(proposed);
    };
    let held = proposed.origin.as_ref().and_then(|origin| origin.task());
    let named = proposed.task.as_ref().map(|task| task.id);
    if [held, named].into_iter().flatten().all(|other| other == task) {
        return Ok(proposed);
    }
    Err(another_task(task))
}

/// The task that an SVID was issued for.
fn task_of(svid: &ShownSvid) -> Option<TaskId> {
    svid.lineage.iter().find_map(|id| TaskId::try_from(*id).ok())
}

fn another_task(held: TaskId) -> Refusal {
    Refusal::new(
        Rule::TaskOther,
        format!("the client's certificate or JWT-SVID was issued for task `{held}`"),
        "leave `task` out: it carries over; or use one that is for no task",
    )
}

/// Takes all that an SVID hangs on into what is issued, besides the ids in `own`, which stand in it
/// anyway.
pub(super) fn hang_on(svid: &ShownSvid, origin: &mut Origin, own: &[AnyId]) -> Result<(), Refusal> {
    let parties = origin.chain.iter();
    let parties =
        parties.flat_map(|one| [Some(one.agent.any()), one.instance.map(InstanceId::any)]);
    let mut named: Vec<AnyId> = parties.flatten().collect();
    named.extend_from_slice(own);
    named.extend([origin.subject, svid.instance.any()]);
    for id in &svid.lineage {
        if !named.contains(id) && !origin.further.contains(id) {
            origin.further.push(*id);
        }
    }
    if origin.further.len() + OWN_IDS <= LINEAGE_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::ChainTooDeep,
        format!("the token would hang on more than {LINEAGE_MAX} things"),
        "use the credential that the certificate or JWT-SVID was got with",
    ))
}

/// Refuses a client that is known by an SVID of ours where what it would get does not hang on that SVID,
/// and could outlive it.
pub(crate) fn not_by_own(client: &AuthenticatedClient) -> Result<(), Refusal> {
    if client.svid.is_none() {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::GrantNotForClient,
        "what is asked for here would outlive the certificate or JWT-SVID that the client is known by",
        "use the credential that it was got with",
    ))
}

/// What an SVID, of either kind, says of its instance, and how long it may say so.
pub(super) struct SvidFacts {
    pub(super) agent: Arc<AgentFacts>,
    pub(super) owner: PersonId,
    pub(super) instance: InstanceId,
    pub(super) spiffe: SpiffeId,
    pub(super) task: Option<TaskId>,
    /// What it hangs on besides its organization, its key, and what is named here.
    pub(super) further: Vec<AnyId>,
    /// No longer than what it is got with, what the instance was brought into being for, and the task.
    pub(super) until: Time,
}

/// Decides whom an SVID names that a client asks for, for at most `life` and perhaps for a task.
pub(super) async fn named(
    cx: &Cx,
    client: &AuthenticatedClient,
    life: impl FnOnce(&AgentFacts) -> Duration,
    asked: Option<TaskId>,
) -> Result<SvidFacts, Error> {
    let (agent, owner) = acting(cx, client).await?;
    let HolderFacts::Instance { id: instance, descent, vouched, .. } = &client.credential.holder
    else {
        return Err(Refusal::new(
            Rule::GrantNotForClient,
            "certificates and JWT-SVIDs are for instances, and this credential is the agent's own",
            "use the credential of an instance: `accredit instance create`",
        )
        .into());
    };
    let mut until = cx.now.plus(life(&agent)).min(client.credential.ends_at());
    let (mut task, mut further) = (None, Vec::new());
    if let Some(descent) = descent {
        let bound = descent::bound(cx, descent).await?;
        if asked.is_some_and(|task| task != descent.task) {
            return Err(descent::another_task(descent.task).into());
        }
        task = Some(descent.task);
        until = until.min(descent.expires_at);
        further.extend(descent::lineage(descent, bound.owners));
    } else if let Some(asked) = asked {
        let held = task::for_token(cx, asked, agent.id).await?;
        task = Some(held.id);
        until = until.min(held.deadline);
    }
    if let Some(vouched) = vouched {
        further.extend(vouched::lineage(cx, vouched).await?);
    }
    if let Some(svid) = &client.svid {
        let held = task_of(svid);
        if let (Some(held), Some(named)) = (held, task)
            && held != named
        {
            return Err(another_task(held).into());
        }
        task = task.or(held);
        until = until.min(svid.expires_at);
        further.extend(&svid.lineage);
    }
    further.extend(client.attested.iter().map(|attested| attested.federation.any()));
    let domain = ca::trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    let spiffe = domain.instance(&agent.name, *instance);
    let spiffe = spiffe.map_err(|error| Fault::new("name an instance", error))?;
    let instance = *instance;
    Ok(SvidFacts { agent, owner, instance, spiffe, task, further, until })
}
