//! The old log read again: what was ended after the backup was made is ended again.
//!
//! The export proves itself with the log's key, which the backup has, and must contain the lanes of
//! the backup as they were: only then does what follows in it say what the backup does not know.
//! After a declared loss its lanes may part from the store's behind a common beginning
//! ([`super::parting`]). That nothing follows the export in turn, nobody can prove; whoever has a Verifier that was there
//! can compare. Absent on purpose: giving back what was created or granted since.

use std::collections::{BTreeMap, BTreeSet};

use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::{AnyId, Kind};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint;
use accredit_wire::tlog::export::{Auditor, Body as Kept, EventRecord, Header};
use accredit_wire::tlog::note::Vkey;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use super::parting::Parting;
use super::parting::Partings;
use super::{open, organization, signed};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::keys::{self, KeyPurpose};
use crate::ports::{LaneHead, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::organization::new_admin;
use crate::registry::{agent, decide};
use crate::revocation::time_boxed::TIME_BOX_SECONDS_MAX;
use crate::revocation::{Revoke, revoke};

/// The most things that one export may end.
pub const ENDS_MAX: usize = 1_000_000;

/// Why things are ended again, for their events.
const ENDED: &str = "it was ended after the backup that was restored";
/// Members of an agent whose change may have taken something from it.
const AGENT_NARROWED_BY: [&str; 9] = [
    "across_environments",
    "bound_only",
    "default_scope",
    "dns_names",
    "environment",
    "jwks_url",
    "may_delegate",
    "owner",
    "permissions",
];
/// Members of a federation whose change may have taken something from its users.
const FEDERATION_NARROWED_BY: [&str; 4] = ["audiences", "jwks_url", "provision", "rules"];
/// Why an agent, a resource, a person or a federation that was changed is suspended.
const CHANGED: &str = "it was changed after the backup that was restored: look at it";

/// An export of the old log, while it is read line by line.
pub struct OldLog<'a> {
    cx: &'a Cx,
    issuer: String,
    log_keys: Vec<PublicKey>,
    /// The closed lanes: their checkpoints, as notes, and by origin how many events the backup has.
    closed: Vec<String>,
    known: BTreeMap<String, u64>,
    /// Those of them that may part from the store's.
    partings: Partings,
    /// The origins of lanes that began with the restore.
    own: BTreeSet<String>,
    auditor: Option<Auditor>,
    /// The origins of the export's lanes.
    origins: BTreeMap<u16, String>,
    /// Events that the backup does not have.
    newer: u64,
    ends: Ends,
    wrong: Option<String>,
}

/// What an old log ended, beyond the backup.
#[derive(Debug, Default)]
pub struct Ends {
    /// Suspended at the log's end: until when, where that was for a time.
    suspended: BTreeMap<AnyId, Option<Time>>,
    /// Changed in what they may do.
    changed: BTreeSet<AnyId>,
    /// Decommissioned.
    decommissioned: BTreeSet<AnyId>,
    /// Ended for good: instances, credentials, signing keys.
    ended: BTreeSet<AnyId>,
    /// Public keys that had left their holder's JWK set at the log's end, which ends them soon.
    left: BTreeSet<AnyId>,
    /// The installation's operator got a new key, which ended those before.
    operators: bool,
    /// Events beyond the backup.
    events: u64,
    /// Where the old log parts from the store's own.
    parted: Vec<Parting>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Things that were ended again.
    pub ended: u64,
    /// Agents, resources, persons and federations that were suspended because they were changed.
    pub changed: u64,
    /// What the backup does not have: made after it, or ended already.
    pub passed_over: u64,
    /// Events of the old log that the backup does not have.
    pub events: u64,
    /// Where the old log parts from the store's own, after a declared loss.
    pub parted: Vec<Parting>,
    /// A key of a new owner, where the last one's was ended again.
    pub owner_key: Option<Secret>,
}

/// What an event's payload says, of which little is needed.
#[derive(Deserialize)]
struct Said {
    target: Option<AnyId>,
    agent: Option<AnyId>,
    owner: Option<IgnoredAny>,
    /// Of a token: the task that held it, where it is what a user granted.
    task: Option<IgnoredAny>,
    /// When something that was suspended for a time goes on, microseconds.
    expires_at: Option<i64>,
    #[serde(default)]
    changes: BTreeMap<String, String>,
}

impl<'a> OldLog<'a> {
    /// Begins to read an export of the organization's log as it was before the restore.
    pub async fn new(cx: &'a Cx) -> Result<Self, Error> {
        let lanes = cx.world.store.lanes(cx.tenant.id).await?;
        let before = |lane: &&LaneHead| lane.generation < cx.tenant.generation;
        let closed: Vec<String> =
            lanes.iter().filter(before).filter_map(|lane| lane.note.clone()).collect();
        let mut known = BTreeMap::new();
        for note in &closed {
            let checkpoint = signed(note)?;
            known.insert(checkpoint.origin, checkpoint.size);
        }
        if known.is_empty() {
            return Err(Refusal::new(
                Rule::StateForbids,
                "this store was not restored from a backup",
                "there is nothing to be reconciled",
            )
            .into());
        }
        let keys = cx.tenant.keys();
        let log_keys = keys::of(keys.all(), KeyPurpose::Log).map(|key| key.sealed.public.clone());
        let own = lanes.iter().filter(|lane| !before(lane)).map(|lane| cx.tenant.origin(lane));
        Ok(Self {
            cx,
            partings: Partings::of(cx, &lanes).await?,
            own: own.collect(),
            issuer: cx.tenant.issuer.clone(),
            log_keys: log_keys.collect(),
            closed,
            known,
            auditor: None,
            origins: BTreeMap::new(),
            newer: 0,
            ends: Ends::default(),
            wrong: None,
        })
    }

    /// Takes the next line, with or without its end. Fails where the store cannot be read.
    pub async fn line(&mut self, line: &str) -> Result<(), Fault> {
        if self.wrong.is_some() {
            return Ok(());
        }
        let outcome =
            if self.auditor.is_none() { self.first(line) } else { self.next(line).await? };
        self.wrong = outcome.err();
        Ok(())
    }

    /// The header: its logs are this organization's, and signed by a key that the backup has, or that one of
    /// them named.
    fn first(&mut self, line: &str) -> Result<(), String> {
        let header: Header =
            serde_json::from_str(line).map_err(|_| "it does not begin as an export does")?;
        if header.issuer != self.issuer {
            return Err(format!("it is of `{}`", header.issuer));
        }
        let mut vkeys = Vec::with_capacity(header.lanes.len());
        for lane in header.lanes {
            if self.own.contains(&lane.origin) {
                return Err("it was made after the restore, from what was restored".to_owned());
            }
            for key in &self.log_keys {
                vkeys.push(Vkey::new(&lane.origin, key).map_err(|error| error.to_string())?);
            }
            self.origins.insert(lane.lane, lane.origin);
        }
        let mut auditor = Auditor::new(vkeys.clone());
        for note in &self.closed {
            let origin = note.lines().next().unwrap_or_default();
            if self.partings.may_lack(origin) && !self.origins.values().any(|it| it == origin) {
                continue;
            }
            let opened = checkpoint::open(note.as_bytes(), &vkeys)
                .map_err(|_| "it does not have the lanes that the backup has".to_owned())?;
            if !self.partings.has(&opened.origin) {
                auditor.against(note.as_bytes()).map_err(|error| error.to_string())?;
            }
        }
        auditor.line(line);
        self.auditor = Some(auditor);
        Ok(())
    }

    async fn next(&mut self, line: &str) -> Result<Result<(), String>, Fault> {
        if let Some(auditor) = &mut self.auditor {
            auditor.line(line);
        }
        let line = line.strip_suffix('\n').unwrap_or(line);
        // What is no event, or a malformed one, is the auditor's.
        let Some((event, _)) = EventRecord::read(line) else { return Ok(Ok(())) };
        if self.is_known(&event).await? {
            return Ok(Ok(()));
        }
        self.newer += 1;
        let taken = self.ends.take(&event);
        if taken.is_ok() && self.ends.len() > ENDS_MAX {
            return Ok(Err(format!("it ends more than {ENDS_MAX} things")));
        }
        Ok(taken)
    }

    /// Whether the store has an event of the export.
    async fn is_known(&mut self, event: &EventRecord<'_>) -> Result<bool, Fault> {
        let Some(origin) = self.origins.get(&event.lane) else { return Ok(false) };
        let place = (event.sequence, &event.leaf);
        let is_common = self.partings.is_common(self.cx, origin, place).await?;
        let known = self.known.get(origin).copied().unwrap_or(0);
        Ok(is_common.unwrap_or(event.sequence < known))
    }

    /// What it ended, once all lines were read: only where it is whole, signed, contains the log of
    /// the backup, and goes on behind it; after a declared loss, where it goes on behind what it has in
    /// common with the store's own.
    pub fn finish(self) -> Result<Ends, Refusal> {
        let refused = |detail: String| {
            Refusal::new(
                Rule::FieldInvalid,
                format!("the export is not this log's continuation: {detail}"),
                "give a whole export of the log as it was before the restore or the loss, made after \
                 the backup",
            )
        };
        if let Some(wrong) = self.wrong {
            return Err(refused(wrong));
        }
        let Some(auditor) = self.auditor else { return Err(refused("it is empty".to_owned())) };
        let report = auditor.finish();
        if let Some(finding) = report.findings.first() {
            return Err(refused(finding.to_string()));
        }
        if !report.ok || !report.complete {
            return Err(refused("it is only a part of the log".to_owned()));
        }
        if self.newer == 0 {
            return Err(refused("it has no event that the backup does not have".to_owned()));
        }
        let parted = self.partings.found().map_err(refused)?;
        Ok(Ends { events: self.newer, parted, ..self.ends })
    }
}

impl Ends {
    fn len(&self) -> usize {
        let sets = [&self.changed, &self.decommissioned, &self.ended, &self.left];
        self.suspended.len() + sets.iter().map(|set| set.len()).sum::<usize>()
    }

    /// Takes what an event says. One that ends something and was pruned cannot be read.
    fn take(&mut self, event: &EventRecord<'_>) -> Result<(), String> {
        let kind = event.kind;
        let ends = matches!(
            kind,
            "agent.decommissioned"
                | "agent.impersonation_ended"
                | "agent.jwks_followed"
                | "agent.stripped"
                | "agent.updated"
                | "credential.created"
                | "credential.revoked"
                | "credential.rotated"
                | "federation.updated"
                | "instance.revoked"
                | "key.revoked"
                | "person.ungranted"
                | "person.unlinked"
                | "resource.updated"
                | "task.ended"
                | "token.revoked"
        );
        let turns = kind.ends_with(".suspended") || kind.ends_with(".activated");
        if !ends && !turns && !kind.starts_with("permission.") {
            return Ok(());
        }
        let Kept::Kept { payload, .. } = &event.body else {
            let (lane, sequence) = (event.lane, event.sequence);
            return Err(format!("what event {sequence} of lane {lane} says was pruned"));
        };
        let said: Said = serde_json::from_str(payload).map_err(|error| error.to_string())?;
        if kind == "credential.created" {
            self.operators |= said.changes.contains_key("operator_key");
            return Ok(());
        }
        if kind == "agent.jwks_followed" {
            let ids = |member| said.changes.get(member).map_or("", String::as_str).split(' ');
            self.left.extend(ids("ending").filter_map(|id| id.parse::<AnyId>().ok()));
            for id in ids("renewed").filter_map(|id| id.parse::<AnyId>().ok()) {
                self.left.remove(&id);
            }
            return Ok(());
        }
        let id = match said.target {
            Some(target) => target,
            None => said.agent.ok_or_else(|| format!("an event `{kind}` names nothing"))?,
        };
        match kind {
            "agent.decommissioned" => drop(self.decommissioned.insert(id)),
            "agent.updated" => {
                let changed = |member: &&str| said.changes.contains_key(*member);
                if said.owner.is_some() || AGENT_NARROWED_BY.iter().any(changed) {
                    self.changed.insert(id);
                }
            }
            "resource.updated" => {
                if ["actions", "bound_only", "status_list"]
                    .iter()
                    .any(|name| said.changes.contains_key(*name))
                {
                    self.changed.insert(id);
                }
            }
            "federation.updated" => {
                if FEDERATION_NARROWED_BY.iter().any(|name| said.changes.contains_key(*name)) {
                    self.changed.insert(id);
                }
            }
            "agent.impersonation_ended"
            | "agent.stripped"
            | "person.ungranted"
            | "person.unlinked" => {
                self.changed.insert(id);
            }
            // Every other token died with its generation.
            "token.revoked" => {
                self.ended.extend(said.task.map(|_| id));
            }
            // The predecessor, which would otherwise live on as long as it was meant to.
            "credential.rotated" | "credential.revoked" | "instance.revoked" | "key.revoked"
            | "task.ended" => {
                self.ended.insert(id);
            }
            _ if kind.starts_with("permission.") => drop(self.changed.insert(id)),
            _ if kind.ends_with(".suspended") => {
                // An end that was over when it was set is none.
                let end = said.expires_at.map(Time::from_micros).filter(|end| *end > event.at);
                self.suspended.insert(id, end);
            }
            _ => drop(self.suspended.remove(&id)),
        }
        Ok(())
    }
}

/// Ends all of it again and opens issuing, where it is not open already: what was waived may still be
/// reconciled. Cut off, it is run again: what has ended stays so.
/// `done` says what was done by then: a new owner's key is in it even where this fails.
pub async fn reconcile(cx: &Cx, ends: &Ends, done: &mut Reconciled) -> Result<(), Error> {
    cx.require(AdminPermission::Administrators)?;
    (done.events, done.parted) = (ends.events, ends.parted.clone());
    for id in ends.ended.union(&ends.left) {
        end(cx, *id, (ENDED, None), done).await?;
    }
    for id in &ends.decommissioned {
        match agent::decommission(cx, &id.to_string(), ENDED).await {
            Ok(_) => done.ended += 1,
            Err(error) => pass_over(error, done)?,
        }
    }
    for id in ends.changed.difference(&ends.decommissioned) {
        let before = done.ended;
        end(cx, *id, (CHANGED, None), done).await?;
        done.changed += done.ended - before;
        done.ended = before;
    }
    // The organization itself last, if it is among them.
    let is_organization = |(id, _): &(&AnyId, _)| id.kind() == Kind::Organization;
    let (last, first): (Vec<_>, Vec<_>) = ends.suspended.iter().partition(is_organization);
    for (id, until) in first.into_iter().chain(last) {
        if until.is_some_and(|end| end <= cx.now) {
            // It would go on by now.
            done.passed_over += 1;
            continue;
        }
        end(cx, *id, (ENDED, *until), done).await?;
    }
    let mut body = Body { count: Some(done.ended + done.changed), ..Body::default() };
    body.changes.insert("events".into(), done.events.to_string());
    if !ends.parted.is_empty() {
        let lines = ends.parted.iter().map(|parted| format!("{} {}", parted.origin, parted.at));
        body.changes.insert("parted".into(), lines.collect::<Vec<_>>().join("\n"));
    }
    let mut more = Vec::new();
    if ends.operators {
        body.changes.insert("operator_keys".into(), "ended".to_owned());
        more.push(Row::EndOperators);
    }
    decide(|| async {
        let org = organization(cx).await?;
        open(cx, org, (EventKind::RestoreReconciled, body.clone()), &more).await
    })
    .await?;
    Ok(())
}

/// Ends one thing again, until a time where it was for one.
async fn end(
    cx: &Cx,
    id: AnyId,
    (reason, until): (&str, Option<Time>),
    done: &mut Reconciled,
) -> Result<(), Error> {
    // Never shorter than it was.
    let left = |end: Time| (end.since(cx.now).as_secs() + 1).min(TIME_BOX_SECONDS_MAX);
    let expires_in = until.map(left);
    let mut asked = Revoke { target: id.to_string(), reason: reason.to_owned(), expires_in };
    let mut outcome = revoke(cx, &asked).await;
    if let Err(Error::Refused(refusal)) = &outcome
        && refusal.rule == Rule::FieldInvalid
        && asked.expires_in.is_some()
    {
        // As many as may be for a time are already: then somebody has to say when it goes on.
        asked.expires_in = None;
        outcome = revoke(cx, &asked).await;
    }
    if let Err(Error::Refused(refusal)) = &outcome
        && refusal.rule == Rule::LastOwner
        && done.owner_key.is_none()
    {
        // The last owner's key was ended since: somebody must be able to go on.
        let own = AdminPermission::ALL.into_iter().filter(|p| *p != AdminPermission::Organizations);
        done.owner_key = Some(new_admin(&cx.world, &cx.tenant, cx.now, own.collect()).await?);
        outcome = revoke(cx, &asked).await;
    }
    match outcome {
        Ok(_) => done.ended += 1,
        Err(error) => pass_over(error, done)?,
    }
    Ok(())
}

/// What was made after the backup is not there, and what had ended before stays so.
fn pass_over(error: Error, done: &mut Reconciled) -> Result<(), Error> {
    match error {
        Error::Refused(refusal) if matches!(refusal.rule, Rule::NotFound | Rule::StateForbids) => {
            done.passed_over += 1;
            Ok(())
        }
        Error::Refused(refusal) => Err(Fault::new("reconcile", refusal).into()),
        Error::Fault(fault) => Err(fault.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::ids::{AgentId, CredentialId, TaskId, TokenId};
    use accredit_wire::tlog::Hash;
    use serde_json::{Value, json};

    fn take(ends: &mut Ends, kind: &str, payload: &Value) -> Result<(), String> {
        let payload = payload.to_string();
        let body = Kept::Kept { salt: [0; 16], payload: &payload };
        let (at, leaf) = (Time::default(), Hash::ZERO);
        ends.take(&EventRecord { lane: 0, sequence: 9, kind, at, leaf, body })
    }

    #[test]
    fn what_ends_or_narrows_something_is_taken_and_the_last_word_counts() {
        let agent = AgentId::new(1, [1; 10]).any();
        let [one, two] = [1, 2].map(|byte| CredentialId::new(1, [byte; 10]).any());
        let mut ends = Ends::default();
        let ended = json!({"target": one, "v": 1});
        take(&mut ends, "credential.revoked", &ended).expect("read");
        assert!(ends.ended.contains(&one));
        // Of an agent only what may have taken something from it.
        for member in
            ["purpose", "token_lifetime", "certificate_lifetime", "reviewed", "rotation_days"]
        {
            let changed = json!({"agent": agent, "changes": {member: "x"}, "v": 1});
            take(&mut ends, "agent.updated", &changed).expect("read");
        }
        assert!(ends.changed.is_empty());
        for member in AGENT_NARROWED_BY {
            let changed = json!({"agent": agent, "changes": {member: "x"}, "v": 1});
            let mut ends = Ends::default();
            take(&mut ends, "agent.updated", &changed).expect("read");
            assert!(ends.changed.contains(&agent), "{member}");
        }
        // Whatever else was narrowed.
        let task = TaskId::new(1, [3; 10]).any();
        take(&mut ends, "task.ended", &json!({"target": task})).expect("read");
        assert!(ends.ended.remove(&task));
        let grant = TokenId::new(1, [4; 10]).any();
        take(&mut ends, "token.revoked", &json!({"target": grant, "task": task})).expect("read");
        assert!(ends.ended.remove(&grant), "what a user granted for a task");
        take(&mut ends, "token.revoked", &json!({"target": grant})).expect("read");
        assert!(!ends.ended.contains(&grant), "of a token itself nothing is left to end");
        for kind in
            ["agent.impersonation_ended", "agent.stripped", "person.ungranted", "person.unlinked"]
        {
            take(&mut ends, kind, &json!({"target": agent})).expect("read");
            assert!(ends.changed.remove(&agent), "{kind}");
        }
        for (member, is_narrower) in [("rules", true), ("audiences", true), ("name", false)] {
            let changed = json!({"target": agent, "changes": {member: "x"}});
            take(&mut ends, "federation.updated", &changed).expect("read");
            assert_eq!(ends.changed.remove(&agent), is_narrower, "{member}");
        }
        // Suspended for a time, with an end that can be one.
        for (end, is_for_a_time) in [(1, true), (0, false), (-1, false)] {
            let suspended = json!({"agent": agent, "expires_at": end});
            take(&mut ends, "agent.suspended", &suspended).expect("read");
            assert_eq!(ends.suspended[&agent].is_some(), is_for_a_time, "{end}");
        }
        // Suspended and started again; a key that left its set and came back.
        for (kind, is_in) in [("suspended", true), ("activated", false), ("suspended", true)] {
            take(&mut ends, &format!("agent.{kind}"), &json!({"agent": agent})).expect("read");
            assert_eq!(ends.suspended.contains_key(&agent), is_in);
        }
        let both = format!("{one} {two}");
        let followed = json!({"agent": agent, "changes": {"ending": both, "ending_until": "x"}});
        take(&mut ends, "agent.jwks_followed", &followed).expect("read");
        assert_eq!(ends.left, BTreeSet::from([one, two]));
        let followed = json!({"agent": agent, "changes": {"renewed": two.to_string()}});
        take(&mut ends, "agent.jwks_followed", &followed).expect("read");
        assert_eq!(ends.left, BTreeSet::from([one]));
        // What ends nothing need not say anything; what does must be readable.
        take(&mut ends, "token.issued", &json!("anything")).expect("passed over");
        assert!(take(&mut ends, "instance.revoked", &json!({"v": 1})).is_err());
        let body = Kept::Pruned(Hash::ZERO);
        let (at, leaf) = (Time::default(), Hash::ZERO);
        let pruned =
            |kind| EventRecord { lane: 0, sequence: 9, kind, at, leaf, body: body.clone() };
        assert!(ends.take(&pruned("token.issued")).is_ok());
        assert!(ends.take(&pruned("agent.suspended")).is_err());
    }
}
