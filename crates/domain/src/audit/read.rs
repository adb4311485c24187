//! Reading the log: pages of events, one event, and the export that proves itself.

use std::collections::BTreeMap;

use accredit_wire::ids::{AnyId, EventId};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::export::{
    Body as ExportBody, EventRecord, Header, LaneHeader, checkpoint_line, end_line,
};
use accredit_wire::tlog::note::Vkey;
use serde::Serialize;
use serde_json::value::RawValue;

use super::integrate::integrate;
use super::merged::{Cursor, Merged};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, LaneHead, Leaf, LeafBody, Order, UsedUp};
use crate::refusal::{Error, Fault, Refusal};
use crate::registry::Listed;
use crate::registry::credential::AdminPermission;

/// Leaves looked through for one page, so that a rare type does not make a page run for ever.
pub const SCAN_LEAVES_MAX: usize = 20_000;
/// Leaves read at a time.
pub const READ_LEAVES_MAX: usize = 500;

/// An event as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// Its id, `evt_`, which is its place in the log.
    #[schema(value_type = String)]
    pub id: EventId,
    /// Its lane.
    pub lane: u16,
    /// Its sequence number in the lane.
    pub seq: u64,
    /// What happened, such as `token.issued`.
    pub r#type: String,
    /// When.
    #[schema(value_type = String)]
    pub time: Time,
    /// Its RFC 6962 leaf hash, hexadecimal.
    pub leaf: String,
    /// What is said about it; absent once pruned.
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Box<RawValue>>,
}

fn view(leaf: &Leaf) -> Result<EventView, Fault> {
    let payload = match &leaf.body {
        LeafBody::Kept { payload, .. } => Some(
            RawValue::from_string(payload.clone())
                .map_err(|error| Fault::new("read event", error))?,
        ),
        LeafBody::Pruned { .. } => None,
    };
    Ok(EventView {
        id: EventId::at(leaf.at.millis(), leaf.lane, leaf.sequence),
        lane: leaf.lane,
        seq: leaf.sequence,
        r#type: leaf.kind.clone(),
        time: leaf.at,
        leaf: Hash::new(leaf.hash).to_string(),
        payload,
    })
}

/// What a page of events asks for.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Events after this, or before it where the newest come first; all where there is none.
    pub after: Option<Cursor>,
    /// Only of this type, or of types that begin so and a dot.
    pub kind: Option<String>,
    /// The newest first instead of the oldest.
    pub newest: bool,
    /// At most so many.
    pub limit: usize,
}

/// Events in order of the log ([`super::merged`]). `next` is given also where nothing was found yet but
/// there is more to look through.
pub async fn list(cx: &Cx, query: &EventQuery) -> Result<Listed<EventView>, Error> {
    cx.require(AdminPermission::Audit)?;
    let lanes = cx.world.store.lanes(cx.tenant.id).await?;
    let order = if query.newest { Order::Newest } else { Order::Oldest };
    let mut merged = Merged::new(cx, &lanes, query.after.as_ref(), order).await?;
    if let Some(kinds) = query.kind.as_deref().and_then(indexed) {
        return of_kinds(cx, merged, query, (kinds, order)).await;
    }
    let wanted = |leaf: &Leaf| match &query.kind {
        Some(kind) => {
            leaf.kind == *kind
                || leaf.kind.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with('.'))
        }
        None => true,
    };
    let (mut items, mut scanned) = (Vec::new(), 0);
    while items.len() < query.limit && scanned < SCAN_LEAVES_MAX {
        let Some(leaf) = merged.next(cx).await? else { break };
        scanned += 1;
        if wanted(&leaf) {
            items.push(view(&leaf)?);
        }
    }
    Ok(Listed { items, next: merged.cursor() })
}

/// The types that a type names, itself and those that begin so and a dot, where the store has an
/// index of them: of all but `token.issued`, which nearly all events are and which is found by
/// looking.
fn indexed(kind: &str) -> Option<Vec<String>> {
    let below = |known: &str| known.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'));
    let known = EventKind::ALL.iter().map(|known| known.as_str()).filter(|known| below(known));
    let kinds: Vec<String> = std::iter::once(kind).chain(known).map(str::to_owned).collect();
    (!kinds.iter().any(|kind| kind == EventKind::TokenIssued.as_str())).then_some(kinds)
}

/// Events of some types, from an index.
async fn of_kinds(
    cx: &Cx,
    mut merged: Merged,
    query: &EventQuery,
    (kinds, order): (Vec<String>, Order),
) -> Result<Listed<EventView>, Error> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let left = merged.left();
    for of_it in left.chunk_by(|(one, ..), (other, ..)| one == other) {
        // One more than is shown, to know whether there is a next one.
        let wanted = query.limit + 1 - leaves.len();
        if wanted == 0 {
            break;
        }
        let mut found = Vec::new();
        for (_, lane, places) in of_it.iter().filter(|(.., places)| !places.is_empty()) {
            let (org, kinds, places) = (cx.tenant.id, kinds.clone(), places.clone());
            let of_lane = cx.world.store.leaves_of(org, *lane, kinds, places, (order, wanted));
            found.extend(of_lane.await?);
        }
        found.sort_by_key(|leaf| (leaf.at, leaf.lane, leaf.sequence));
        if order == Order::Newest {
            found.reverse();
        }
        found.truncate(wanted);
        leaves.extend(found);
    }
    let more = leaves.len() > query.limit;
    leaves.truncate(query.limit);
    for leaf in &leaves {
        merged.pass(leaf);
    }
    let items = leaves.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Listed { items, next: merged.cursor().filter(|_| more) })
}

/// What the log says about something that can get tokens.
#[derive(Debug)]
pub(crate) struct About {
    /// The newest events that name it, newest first, apart from those of tokens that were issued to
    /// it.
    pub events: Vec<EventView>,
    /// Tokens issued, among what was looked through.
    pub tokens_issued: u64,
    /// The newest of these events.
    pub last_issued: Option<EventView>,
    /// Since when everything was looked through; nothing where all of it was, back to its birth.
    pub looked_back_to: Option<Time>,
}

/// What the log says about an id that was born at `since`: at most `limit` events, from as many
/// leaves as a page of a list looks through.
pub(crate) async fn about(cx: &Cx, id: AnyId, since: Time, limit: usize) -> Result<About, Error> {
    // An id stands in a payload as a string of its own.
    let named = format!("\"{id}\"");
    let names_it = |leaf: &Leaf| match &leaf.body {
        LeafBody::Kept { payload, .. } => payload.contains(&named),
        LeafBody::Pruned { .. } => false,
    };
    let mut found =
        About { events: Vec::new(), tokens_issued: 0, last_issued: None, looked_back_to: None };
    let lanes = cx.world.store.lanes(cx.tenant.id).await?;
    let mut merged = Merged::new(cx, &lanes, None, Order::Newest).await?;
    let mut scanned = 0;
    while let Some(leaf) = merged.next(cx).await? {
        if leaf.at < since {
            break;
        }
        let is_enough = scanned >= SCAN_LEAVES_MAX || found.events.len() >= limit;
        if is_enough && scanned.is_multiple_of(READ_LEAVES_MAX) {
            return Ok(found);
        }
        found.looked_back_to = Some(leaf.at);
        scanned += 1;
        if !names_it(&leaf) {
            continue;
        }
        if leaf.kind == EventKind::TokenIssued.as_str() {
            found.tokens_issued += 1;
            if found.last_issued.is_none() {
                found.last_issued = Some(view(&leaf)?);
            }
        } else if found.events.len() < limit {
            found.events.push(view(&leaf)?);
        }
    }
    found.looked_back_to = None;
    Ok(found)
}

/// One event, by id or by sequence number of lane 0.
pub async fn find(cx: &Cx, key: &str) -> Result<EventView, Error> {
    cx.require(AdminPermission::Audit)?;
    let missing = || Error::from(Refusal::not_found("event", key));
    let (lane, sequence, id) = match (key.parse::<EventId>(), key.parse::<u64>()) {
        (Ok(id), _) => {
            let (lane, sequence) = id.place();
            (lane, sequence, Some(id))
        }
        (Err(_), Ok(sequence)) => (0, sequence, None),
        (Err(_), Err(_)) => return Err(missing()),
    };
    let leaves = cx.world.store.leaves(cx.tenant.id, lane, sequence, 1).await?;
    let leaf = leaves.first().filter(|leaf| leaf.sequence == sequence).ok_or_else(missing)?;
    let view = view(leaf)?;
    if id.is_some_and(|id| id != view.id) {
        return Err(missing());
    }
    Ok(view)
}

/// Where the log stands, with what verifies it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LaneView {
    /// The lane.
    pub lane: u16,
    /// The origin of its checkpoints.
    pub origin: String,
    /// Its note verifier key (C2SP signed-note): the active one.
    pub key: String,
    /// All that ever signed its checkpoints, or will, oldest first.
    pub keys: Vec<String>,
    /// Leaves covered by the newest checkpoint.
    pub size: u64,
    /// The newest checkpoint, a signed note.
    pub checkpoint: Option<String>,
}

/// The lanes of the log, integrated up to now.
pub async fn lanes(cx: &Cx) -> Result<Vec<LaneView>, Error> {
    cx.require(AdminPermission::Audit)?;
    let heads = integrate(&cx.world, &cx.tenant).await?;
    let mut lanes = Vec::with_capacity(heads.len());
    for head in heads {
        lanes.push(LaneView {
            lane: head.lane,
            origin: cx.tenant.origin(&head),
            key: cx.tenant.log_vkey(&head)?.to_string(),
            keys: cx.tenant.log_vkeys_ever(&head)?.iter().map(Vkey::to_string).collect(),
            size: head.integrated,
            checkpoint: head.note,
        });
    }
    Ok(lanes)
}

/// An export in progress: lines of NDJSON, a chunk at a time (`docs/formats.md`). The lanes stand in it
/// beside each other, by time: what one says of another is then near what it says that of, and whoever
/// verifies it need not keep much of either.
pub struct Export {
    lanes: Vec<LaneHead>,
    merged: Merged,
    /// How far each lane is written, by its number.
    written: BTreeMap<u16, Written>,
    events: u64,
    stage: Stage,
}

/// One lane of an export.
#[derive(Default)]
struct Written {
    /// The sequence number that comes next.
    next: u64,
    /// Checkpoints that come next, the first of them last.
    notes: Vec<(u64, String)>,
}

#[derive(PartialEq)]
enum Stage {
    Header,
    Events,
    Done,
}

/// Begins an export of the whole log. Exporting is an event itself, the last one exported.
pub async fn export(cx: &Cx) -> Result<Export, Error> {
    cx.require(AdminPermission::Audit)?;
    let event = cx.event(EventKind::LogExported, Body::default());
    cx.world.store.record_event(Audited::new((cx.tenant.id, UsedUp::NOTHING), event)).await?;
    let mut lanes = integrate(&cx.world, &cx.tenant).await?;
    for lane in &mut lanes {
        // What came since is in the next one.
        lane.sequenced = lane.integrated;
    }
    let merged = Merged::new(cx, &lanes, None, Order::Oldest).await?;
    Ok(Export { lanes, merged, written: BTreeMap::new(), events: 0, stage: Stage::Header })
}

impl Export {
    /// The next chunk of lines, or `None` after the last.
    pub async fn chunk(&mut self, cx: &Cx) -> Result<Option<String>, Fault> {
        match self.stage {
            Stage::Header => {
                self.stage = Stage::Events;
                Ok(Some(self.header(cx)))
            }
            Stage::Events => {
                let lines = self.events(cx).await?;
                if lines.is_none() {
                    self.stage = Stage::Done;
                }
                Ok(Some(lines.unwrap_or_else(|| end_line(self.events) + "\n")))
            }
            Stage::Done => Ok(None),
        }
    }

    fn header(&self, cx: &Cx) -> String {
        let lane = |head: &LaneHead| LaneHeader {
            lane: head.lane,
            origin: cx.tenant.origin(head),
            from: 0,
            previous: None,
        };
        let header = Header {
            accredit_export: 1,
            issuer: cx.tenant.issuer.clone(),
            lanes: self.lanes.iter().map(lane).collect(),
            statements: cx.tenant.keys().log_statements(),
        };
        header.to_line() + "\n"
    }

    async fn events(&mut self, cx: &Cx) -> Result<Option<String>, Fault> {
        let mut lines = String::with_capacity(READ_LEAVES_MAX * 900);
        for _ in 0..READ_LEAVES_MAX {
            let Some(leaf) = self.merged.next(cx).await? else { break };
            event_line(&mut lines, &leaf);
            self.events += 1;
            let written = self.written.entry(leaf.lane).or_default();
            written.next = leaf.sequence + 1;
            written.checkpoint_lines(cx, leaf.lane, &mut lines).await?;
        }
        if !lines.is_empty() {
            return Ok(Some(lines));
        }
        let next = |lane: &LaneHead| self.written.get(&lane.lane).map_or(0, |written| written.next);
        if self.lanes.iter().any(|lane| next(lane) != lane.integrated) {
            return Err(Fault::new("export", "a leaf that was counted is not there"));
        }
        Ok(None)
    }
}

impl Written {
    /// The checkpoints whose size is reached. Nothing is read beyond the last that was there when the
    /// export began: no event behind it is.
    async fn checkpoint_lines(
        &mut self,
        cx: &Cx,
        lane: u16,
        lines: &mut String,
    ) -> Result<(), Fault> {
        if self.notes.is_empty() {
            let after = self.next.saturating_sub(1);
            let notes =
                cx.world.store.checkpoints(cx.tenant.id, lane, after, READ_LEAVES_MAX).await?;
            self.notes = notes.into_iter().rev().collect();
        }
        while let Some((_, note)) = self.notes.pop_if(|(size, _)| *size <= self.next) {
            lines.push_str(&checkpoint_line(&note));
            lines.push('\n');
        }
        Ok(())
    }
}

/// One event, as the format writes it.
fn event_line(lines: &mut String, leaf: &Leaf) {
    let body = match &leaf.body {
        LeafBody::Kept { salt, payload } => ExportBody::Kept { salt: *salt, payload },
        LeafBody::Pruned { digest } => ExportBody::Pruned(Hash::new(*digest)),
    };
    let record = EventRecord {
        lane: leaf.lane,
        sequence: leaf.sequence,
        kind: &leaf.kind,
        at: leaf.at,
        leaf: Hash::new(leaf.hash),
        body,
    };
    lines.push_str(&record.to_line());
    lines.push('\n');
}
