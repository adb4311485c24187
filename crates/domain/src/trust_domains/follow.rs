//! SPIFFE Federation sections 4 and 5.2: bundles that are followed at a URL.
//!
//! A fetched bundle takes the place of the held one whole, or not at all: what cannot be had, is no bundle, or is
//! older than what is held leaves everything as it was, which is told once and shown with its age until it is
//! over. By `https_spiffe` the server is known by the bundle that is held, so that each one vouches
//! for whoever serves the next.
//!
//! Absent on purpose: an end of what is held while nothing newer can be had. Whoever serves a
//! bundle would end all that was built on it by being silent; who wants it ended removes it.

use accredit_wire::time::Time;
use accredit_wire::x509::bundle::Bundle;
use accredit_wire::x509::spiffe::TrustDomain;
use futures_util::future::join_all;

use super::{ForeignDomain, Source, refresh_after};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{CommitError, Row, SpiffeServer};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::commit;

/// The time until a bundle that could not be had is tried again.
pub const RETRY_AFTER: std::time::Duration = std::time::Duration::from_mins(1);
/// Bundles that are fetched at the same time, in one organization.
pub const FETCHES_AT_A_TIME_MAX: usize = 8;
/// Characters of the reason why a bundle could not be had.
const FAILURE_CHARS_MAX: usize = 300;

/// Fetches what `source` gives for `name`, whose server is known by `held`.
async fn fetched(
    cx: &Cx,
    name: &TrustDomain,
    source: &Source,
    held: Option<&Bundle>,
) -> Result<Bundle, String> {
    let (url, server) = match source {
        Source::ByHand => return Err("its bundle is given by hand".to_owned()),
        Source::Web { url } => (url, None),
        Source::Spiffe { url, endpoint } => {
            let roots = held.iter().flat_map(|held| held.roots()).map(<[u8]>::to_vec).collect();
            (url, Some(SpiffeServer { id: endpoint.to_string(), roots }))
        }
    };
    let text = cx.world.outbound.fetch_bundle(url, server).await?;
    Bundle::parse(name, &text).map_err(|error| format!("the bundle: {error}"))
}

/// The bundle that is held first: the one that was given by hand, or the one at the URL.
pub(super) async fn first(
    cx: &Cx,
    name: &TrustDomain,
    source: &Source,
    given: Option<Bundle>,
) -> Result<Bundle, Error> {
    if let (Source::ByHand, Some(given)) = (source, &given) {
        return Ok(given.clone());
    }
    let bundle = fetched(cx, name, source, given.as_ref()).await.and_then(|bundle| {
        match given.as_ref().and_then(|given| is_older(given, &bundle)) {
            Some(why) => Err(why),
            None => Ok(bundle),
        }
    });
    Ok(bundle.map_err(|why| {
        Refusal::field("bundle_url", why, "check the address from where the server runs")
    })?)
}

/// Fetches the bundle of a trust domain that is held.
pub(super) async fn fetch(cx: &Cx, domain: &ForeignDomain) -> Result<Bundle, String> {
    let bundle = fetched(cx, &domain.name, &domain.source, Some(&domain.bundle)).await?;
    match is_older(&domain.bundle, &bundle) {
        Some(why) => Err(why),
        None => Ok(bundle),
    }
}

/// Why a bundle is not to take the place of another: it is one that was published before it (SPIFFE Trust
/// Domain and Bundle section 4.1.1).
pub(super) fn is_older(held: &Bundle, new: &Bundle) -> Option<String> {
    match (held.sequence, new.sequence) {
        (Some(held), Some(new)) if new < held => Some(format!(
            "the bundle is older than the one held: `spiffe_sequence` {new} after {held}"
        )),
        _ => None,
    }
}

/// What came of a fetch: how the row is from now on, and the event, where it is one.
fn outcome(
    domain: ForeignDomain,
    fetched: Result<Bundle, String>,
    now: Time,
) -> Result<(ForeignDomain, Option<(EventKind, Body)>), Fault> {
    let mut body = Body { name: Some(domain.name.to_string()), ..Body::default() };
    let bundle = match fetched {
        Ok(bundle) => bundle,
        Err(why) => {
            let why: String = why.chars().take(FAILURE_CHARS_MAX).collect();
            let is_new = domain.failing_since.is_none();
            body.reason = Some(why.clone());
            let domain = ForeignDomain {
                due_at: domain.due_at.map(|_| now.plus(RETRY_AFTER)),
                failing_since: domain.failing_since.or(Some(now)),
                failure: Some(why),
                ..domain
            };
            return Ok((domain, is_new.then_some((EventKind::TrustDomainBundleFailing, body))));
        }
    };
    let was_failing = domain.failing_since.is_some();
    let (before, held) = (domain.facts(), domain.bundle.clone());
    let domain = ForeignDomain {
        due_at: domain.due_at.map(|_| now.plus(refresh_after(&bundle))),
        fetched_at: now,
        failing_since: None,
        failure: None,
        bundle,
        ..domain
    };
    if domain.bundle == held && !was_failing {
        return Ok((domain, None));
    }
    body.changes = changes::made_different(&before, &domain.facts())?;
    if was_failing {
        body.changes.insert("recovered".into(), "true".to_owned());
    }
    if !domain.bundle.has_keys_of(&held)
        && held.sequence.is_some()
        && domain.bundle.sequence == held.sequence
    {
        // Whoever publishes it says that nothing has changed.
        body.changes.insert("sequence_stood_still".into(), "true".to_owned());
    }
    Ok((domain, Some((EventKind::TrustDomainBundleChanged, body))))
}

/// Writes what came of a fetch. Nothing, where the row was changed meanwhile.
async fn written(
    cx: &Cx,
    domain: ForeignDomain,
    fetched: Result<Bundle, String>,
) -> Result<Option<ForeignDomain>, Fault> {
    let (mut domain, told) = outcome(domain, fetched, cx.now)?;
    let Some((kind, body)) = told else {
        cx.world.store.note_foreign_domain(cx.tenant.id, domain.clone()).await?;
        return Ok(Some(domain));
    };
    let rows = vec![Row::ForeignDomain(Box::new(domain.clone()))];
    match commit(cx, rows, None, cx.event(kind, body)).await {
        Ok(_) => {
            domain.version += 1;
            Ok(Some(domain))
        }
        Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => Ok(None),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}

/// Takes what an administrator asked for; refused where it could not be had, which is written too.
pub(super) async fn taken(
    cx: &Cx,
    domain: ForeignDomain,
    fetched: Result<Bundle, String>,
) -> Result<ForeignDomain, Error> {
    let failed = fetched.as_ref().err().cloned();
    let written = written(cx, domain, fetched).await?;
    if let Some(why) = failed {
        let hint = "the bundle that is held is believed on; its failure is shown with it";
        return Err(Refusal::field("bundle_url", why, hint).into());
    }
    Ok(written.ok_or_else(|| {
        let why = "the trust domain was changed while its bundle was fetched";
        Refusal::new(Rule::ChangedMeanwhile, why, "look at it, and ask again where that is needed")
    })?)
}

/// Fetches the bundles that are due, a few at a time. Returns how many it was.
pub async fn tick(cx: &Cx) -> Result<usize, Fault> {
    let mut count = 0;
    loop {
        let (org, now) = (cx.tenant.id, cx.now);
        let due = cx.world.store.foreign_domains_due(org, now, FETCHES_AT_A_TIME_MAX).await?;
        let (found, before) = (due.len(), count);
        let turn = async |domain: ForeignDomain| {
            let fetched = fetch(cx, &domain).await;
            written(cx, domain, fetched).await
        };
        for done in join_all(due.into_iter().map(turn)).await {
            count += usize::from(done?.is_some());
        }
        // Each has got another due time, unless it was changed meanwhile.
        if found < FETCHES_AT_A_TIME_MAX || count == before {
            return Ok(count);
        }
    }
}
