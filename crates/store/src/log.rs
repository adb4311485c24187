//! The log as rows: lanes and their heads, leaves, tiles, checkpoints. RFC 6962 hashes are made by
//! `accredit_wire::tlog`; here a leaf gets its place and is chained to the one before.

use std::ops::Range;

use accredit_domain::audit::event::SealedEvent;
use accredit_domain::ports::{Integrated, LaneHead, Leaf, LeafBody, Order, Pruned};
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::claim::Claim;
use accredit_wire::tlog::{Hash, leaf::leaf_hash};

use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

/// The end of a lane that is written to. Of each generation there is one lane that all share, its first,
/// and where nodes have slots ([`crate::holds`]) one more for each of these; the lanes of earlier
/// generations are closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Which lane.
    pub(crate) lane: u16,
    /// The next leaf's sequence number.
    pub(crate) next: u64,
    /// `next` as it stands in the lane's row.
    pub(crate) stored_next: u64,
    /// The hash of the last leaf.
    pub(crate) previous: Hash,
    /// The time of the last leaf; the next has none before it.
    pub(crate) last_at: Time,
    /// The organization's revocation counter.
    pub(crate) fence: u64,
}

/// Lanes that an organization may have for slots to begin another one: followers take 64, and each
/// generation needs one.
pub(crate) const LANES_WITH_SLOTS_MAX: u64 = 40;

/// Opens the next lane of an organization: of a slot, or the one of a generation that all share, which
/// closes those of the generations before.
pub(crate) fn begin_lane(
    conn: &mut dyn Conn,
    org: &str,
    (generation, slot): (u64, Option<u16>),
    fence: u64,
) -> Result<(), DriverError> {
    let lane =
        conn.number("SELECT COALESCE(MAX(lane) + 1, 0) FROM lane WHERE org = $1", &[org.into()])?;
    conn.execute(
        "INSERT INTO lane (org, lane, generation, next, previous, last_at, fence, slot) \
         VALUES ($1, $2, $3, 0, $4, 0, $5, $6)",
        &[
            org.into(),
            lane.into(),
            generation.into(),
            Hash::ZERO.bytes().as_slice().into(),
            fence.into(),
            slot.into(),
        ],
    )?;
    Ok(())
}

/// The lane of a slot in the newest generation of an organization.
pub(crate) fn lane_of_slot(
    conn: &mut dyn Conn,
    org: &str,
    slot: u16,
) -> Result<Option<u16>, DriverError> {
    conn.first(
        "SELECT l.lane FROM lane l JOIN organization o \
         ON o.org = l.org AND o.generation = l.generation WHERE l.org = $1 AND l.slot = $2",
        &[org.into(), slot.into()],
        |row| lane_of(row, 0),
    )
}

/// Opens the lane of a slot, where there is none: under the organization's row, which is held. False
/// where the organization has as many as it may.
pub(crate) fn begin_lane_of_slot(
    conn: &mut dyn Conn,
    org: &str,
    slot: u16,
) -> Result<bool, DriverError> {
    // Written and not only held: a revocation whose snapshot lacks this lane must not be committed.
    let found = conn.first(
        "UPDATE organization SET rev = rev WHERE org = $1 RETURNING generation, rev",
        &[org.into()],
        |row| Ok((row.count(0)?, row.count(1)?)),
    )?;
    // Of no such organization, the member says so.
    let Some((generation, rev)) = found else { return Ok(true) };
    if lane_of_slot(conn, org, slot)?.is_some() {
        return Ok(true);
    }
    let lanes = conn.number("SELECT count(*) FROM lane WHERE org = $1", &[org.into()])?;
    if lanes >= LANES_WITH_SLOTS_MAX {
        return Ok(false);
    }
    begin_lane(conn, org, (generation, Some(slot)), rev)?;
    Ok(true)
}

/// The head of the lane that all share, or nothing where there is no such organization.
pub(crate) fn head(conn: &mut dyn Conn, org: &str) -> Result<Option<Head>, DriverError> {
    conn.first(
        "SELECT lane, next, previous, last_at, fence FROM lane \
         WHERE org = $1 AND slot IS NULL ORDER BY lane DESC LIMIT 1",
        &[org.into()],
        read_head,
    )
}

/// The head of a lane, or nothing where its generation is over.
pub(crate) fn open_head(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
) -> Result<Option<Head>, DriverError> {
    conn.first(
        "SELECT l.lane, l.next, l.previous, l.last_at, l.fence FROM lane l JOIN organization o \
         ON o.org = l.org AND o.generation = l.generation WHERE l.org = $1 AND l.lane = $2",
        &[org.into(), lane.into()],
        read_head,
    )
}

fn read_head(row: &dyn Row) -> Result<Head, DriverError> {
    let next = row.count(1)?;
    Ok(Head {
        lane: lane_of(row, 0)?,
        next,
        stored_next: next,
        previous: Hash::new(row.bytes(2)?),
        last_at: row.time(3)?,
        fence: row.count(4)?,
    })
}

/// The time of the last leaf of all lanes of an organization.
pub(crate) fn last_at(conn: &mut dyn Conn, org: &str) -> Result<Time, DriverError> {
    let sql = "SELECT COALESCE(MAX(last_at), 0) FROM lane WHERE org = $1";
    Ok(conn.first(sql, &[org.into()], |row| row.time(0))?.unwrap_or_default())
}

/// Adds a leaf. The head moves only where the row was written.
pub(crate) fn append(
    conn: &mut dyn Conn,
    org: &str,
    head: &mut Head,
    event: &SealedEvent,
) -> Result<(), DriverError> {
    let at = event.at.max(head.last_at);
    let kind = event.kind.as_str();
    let hash = leaf_hash(head.next, &head.previous, kind, at, &Hash::new(event.digest));
    conn.add(
        "INSERT INTO event (org, lane, seq, kind, at, hash, salt, payload) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            org.into(),
            head.lane.into(),
            head.next.into(),
            kind.into(),
            at.into(),
            hash.bytes().as_slice().into(),
            event.salt.as_slice().into(),
            (&event.payload).into(),
        ],
    )?;
    head.next += 1;
    head.previous = hash;
    head.last_at = at;
    Ok(())
}

/// Whether the last leaf before this head is in the log, whatever came after it.
pub(crate) fn is_written(conn: &mut dyn Conn, org: &str, head: &Head) -> Result<bool, DriverError> {
    let Some(last) = head.next.checked_sub(1) else { return Ok(true) };
    let stored = conn.first(
        "SELECT hash FROM event WHERE org = $1 AND lane = $2 AND seq = $3",
        &[org.into(), head.lane.into(), last.into()],
        |row| row.bytes(0),
    )?;
    Ok(stored == Some(*head.previous.bytes()))
}

/// Writes the head of the lane, on the condition that the row is as it was seen. False where
/// somebody else has moved it.
pub(crate) fn advance(conn: &mut dyn Conn, org: &str, head: &Head) -> Result<bool, DriverError> {
    let changed = conn.execute(
        "UPDATE lane SET next = $1, previous = $2, last_at = $3 \
         WHERE org = $4 AND lane = $5 AND fence = $6 AND next = $7",
        &[
            head.next.into(),
            head.previous.bytes().as_slice().into(),
            head.last_at.into(),
            org.into(),
            head.lane.into(),
            head.fence.into(),
            head.stored_next.into(),
        ],
    )?;
    Ok(changed == 1)
}

/// Writes a new fence into all lanes of an organization, in their order: two revocations that
/// met would otherwise wait for each other.
pub(crate) fn fence(conn: &mut dyn Conn, org: &str, rev: u64) -> Result<(), DriverError> {
    let lanes =
        conn.all("SELECT lane FROM lane WHERE org = $1 ORDER BY lane", &[org.into()], |row| {
            row.int(0)
        })?;
    for lane in lanes {
        conn.execute(
            "UPDATE lane SET fence = $1 WHERE org = $2 AND lane = $3",
            &[rev.into(), org.into(), lane.into()],
        )?;
    }
    Ok(())
}

/// The lanes of an organization.
pub(crate) fn lanes(conn: &mut dyn Conn, org: &str) -> Result<Vec<LaneHead>, DriverError> {
    let mut lanes = conn.all(
        "SELECT lane, generation, next, pruned, slot FROM lane WHERE org = $1 ORDER BY lane",
        &[org.into()],
        |row| {
            Ok(LaneHead {
                lane: lane_of(row, 0)?,
                generation: row.count(1)?,
                slot: row.opt_int(4)?.map(|_| lane_of(row, 4)).transpose()?,
                sequenced: row.count(2)?,
                pruned: row.count(3)?,
                integrated: 0,
                note: None,
            })
        },
    )?;
    for head in &mut lanes {
        if let Some((size, note)) = newest_checkpoint(conn, org, head.lane)? {
            head.integrated = size;
            head.note = Some(note);
        }
    }
    Ok(lanes)
}

/// The number of a lane in a row.
pub(crate) fn lane_of(row: &dyn Row, column: usize) -> Result<u16, DriverError> {
    u16::try_from(row.int(column)?).map_err(|error| DriverError::unreadable(column, error))
}

/// The size and the signed note of the newest checkpoint of a lane.
pub(crate) fn newest_checkpoint(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
) -> Result<Option<(u64, String)>, DriverError> {
    conn.first(
        "SELECT size, note FROM checkpoint WHERE org = $1 AND lane = $2 \
         ORDER BY size DESC LIMIT 1",
        &[org.into(), lane.into()],
        |row| Ok((row.count(0)?, row.text(1)?.to_owned())),
    )
}

/// Whether a claim about a lane is of one of its signed checkpoints.
pub(crate) fn is_signed(
    conn: &mut dyn Conn,
    (org, lane): (&str, u16),
    claim: &Claim,
) -> Result<bool, DriverError> {
    let note = conn.first(
        "SELECT note FROM checkpoint WHERE org = $1 AND lane = $2 AND size = $3",
        &[org.into(), lane.into(), claim.size.into()],
        |row| Ok(row.text(0)?.to_owned()),
    )?;
    let Claim { origin, size, root } = claim.clone();
    let text = Checkpoint { origin, size, root }.to_string();
    Ok(note.is_some_and(|note| {
        note.strip_prefix(text.as_str()).is_some_and(|rest| rest.starts_with('\n'))
    }))
}

macro_rules! select_leaf {
    ($rest:literal) => {
        concat!(
            "SELECT seq, kind, at, hash, digest, salt, payload FROM event \
             WHERE org = $1 AND lane = $2 AND ",
            $rest
        )
    };
}

/// Leaves of a lane from `from` on.
pub(crate) fn leaves(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
    from: u64,
    limit: usize,
) -> Result<Vec<Leaf>, DriverError> {
    conn.all(
        select_leaf!("seq >= $3 ORDER BY seq LIMIT $4"),
        &[org.into(), lane.into(), from.into(), page::rows(limit)],
        |row| leaf(lane, row),
    )
}

fn leaf(lane: u16, row: &dyn Row) -> Result<Leaf, DriverError> {
    let body = match row.opt_text(6)? {
        Some(payload) => LeafBody::Kept { salt: row.bytes(5)?, payload: payload.to_owned() },
        None => LeafBody::Pruned { digest: row.bytes(4)? },
    };
    Ok(Leaf {
        lane,
        sequence: row.count(0)?,
        kind: row.text(1)?.to_owned(),
        at: row.time(2)?,
        hash: row.bytes(3)?,
        body,
    })
}

/// Leaves of some types, each type by the index of all but `token.issued`.
pub(crate) fn leaves_of(
    conn: &mut dyn Conn,
    (org, lane): (&str, u16),
    kinds: &[String],
    places: Range<u64>,
    (order, limit): (Order, usize),
) -> Result<Vec<Leaf>, DriverError> {
    let newest = order == Order::Newest;
    let sql = if newest {
        select_leaf!(
            "kind = $3 AND kind <> 'token.issued' AND seq >= $4 AND seq < $5 \
             ORDER BY seq DESC LIMIT $6"
        )
    } else {
        select_leaf!(
            "kind = $3 AND kind <> 'token.issued' AND seq >= $4 AND seq < $5 \
             ORDER BY seq LIMIT $6"
        )
    };
    let mut found = Vec::new();
    for kind in kinds {
        let (from, below, limit) = (places.start, places.end, page::rows(limit));
        let values = [org.into(), lane.into(), kind.into(), from.into(), below.into(), limit];
        found.extend(conn.all(sql, &values, |row| leaf(lane, row))?);
    }
    found.sort_unstable_by_key(|leaf| leaf.sequence);
    if newest {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found)
}

/// Deletes payloads and salts, keeps their digests, and notes how far that is.
pub(crate) fn prune(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
    pruned: &[Pruned],
) -> Result<(), DriverError> {
    for leaf in pruned {
        conn.execute(
            "UPDATE event SET digest = $1, salt = NULL, payload = NULL \
             WHERE org = $2 AND lane = $3 AND seq = $4 AND payload IS NOT NULL",
            &[leaf.digest.as_slice().into(), org.into(), lane.into(), leaf.sequence.into()],
        )?;
    }
    let Some(end) = pruned.iter().map(|leaf| leaf.sequence + 1).max() else { return Ok(()) };
    conn.execute(
        "UPDATE lane SET pruned = $1 WHERE org = $2 AND lane = $3 AND pruned < $1",
        &[end.into(), org.into(), lane.into()],
    )
    .map(drop)
}

/// Leaf hashes of a lane from `from` on.
pub(crate) fn leaf_hashes(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
    from: u64,
    limit: usize,
) -> Result<Vec<[u8; 32]>, DriverError> {
    conn.all(
        "SELECT hash FROM event WHERE org = $1 AND lane = $2 AND seq >= $3 \
         ORDER BY seq LIMIT $4",
        &[org.into(), lane.into(), from.into(), page::rows(limit)],
        |row| row.bytes(0),
    )
}

/// In each lane that is written to: the sequence numbers from the first whose time is `since` or later
/// up to the next one that will be given. Times never go back in a lane, so it is found by halving. What
/// was issued in a closed lane died with its generation.
pub(crate) fn windows(
    conn: &mut dyn Conn,
    org: &str,
    since: Time,
) -> Result<Vec<(u16, Range<u64>)>, DriverError> {
    let lanes = conn.all(
        "SELECT l.lane, l.next FROM lane l JOIN organization o \
         ON o.org = l.org AND o.generation = l.generation WHERE l.org = $1 ORDER BY l.lane",
        &[org.into()],
        |row| Ok((lane_of(row, 0)?, row.count(1)?)),
    )?;
    let window = |(lane, next)| Ok((lane, first_since(conn, (org, lane), next, since)?..next));
    lanes.into_iter().map(window).collect()
}

fn first_since(
    conn: &mut dyn Conn,
    (org, lane): (&str, u16),
    next: u64,
    since: Time,
) -> Result<u64, DriverError> {
    let (mut low, mut high) = (0, next);
    while low < high {
        let middle = low + (high - low) / 2;
        let at = conn.first(
            "SELECT at FROM event WHERE org = $1 AND lane = $2 AND seq = $3",
            &[org.into(), lane.into(), middle.into()],
            |row| row.time(0),
        )?;
        if at.is_some_and(|at| at < since) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// One stored tile.
pub(crate) fn tile(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
    (level, index): (u8, u64),
) -> Result<Option<Vec<u8>>, DriverError> {
    conn.first(
        "SELECT hashes FROM tile WHERE org = $1 AND lane = $2 AND level = $3 AND place = $4",
        &[org.into(), lane.into(), u16::from(level).into(), index.into()],
        |row| Ok(row.blob(0)?.to_vec()),
    )
}

/// Checkpoints of sizes above `after`, ascending.
pub(crate) fn checkpoints(
    conn: &mut dyn Conn,
    org: &str,
    lane: u16,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, String)>, DriverError> {
    conn.all(
        "SELECT size, note FROM checkpoint WHERE org = $1 AND lane = $2 AND size > $3 \
         ORDER BY size LIMIT $4",
        &[org.into(), lane.into(), after.into(), page::rows(limit)],
        |row| Ok((row.count(0)?, row.text(1)?.to_owned())),
    )
}

/// What was integrated, and from where.
#[derive(Debug)]
pub(crate) struct Integration {
    pub(crate) lane: u16,
    pub(crate) from: u64,
    pub(crate) integrated: Integrated,
}

/// Writes the newest checkpoint anew, with further signatures under the same text.
fn sign_again(
    conn: &mut dyn Conn,
    org: &str,
    work: &Integration,
    held: &str,
) -> Result<(), Failure> {
    const OPERATION: &str = "sign a checkpoint again";
    let Integrated { tiles, size, note } = &work.integrated;
    let text = |note: &str| note.split_once("\n\n").map(|(text, _)| text.to_owned());
    if !tiles.is_empty() || text(note).is_none() || text(note) != text(held) {
        return Err(Failure::wrong(OPERATION, "it is another checkpoint"));
    }
    let changed = conn
        .execute(
            "UPDATE checkpoint SET note = $1 WHERE org = $2 AND lane = $3 AND size = $4",
            &[note.into(), org.into(), work.lane.into(), (*size).into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Failure::unless_one(changed)
}

/// Writes tiles and the checkpoint that covers them, where the lane is still integrated up to
/// exactly `from`. A checkpoint covers more than the one before, and only leaves that are there.
pub(crate) fn integrate(conn: &mut dyn Conn, org: &str, work: &Integration) -> Result<(), Failure> {
    const OPERATION: &str = "integrate the log";
    let failed = |error| Failure::of(OPERATION, error);
    let (lane, Integrated { tiles, size, note }) = (work.lane, &work.integrated);
    let sequenced = conn
        .first(
            "SELECT next FROM lane WHERE org = $1 AND lane = $2",
            &[org.into(), lane.into()],
            |row| row.count(0),
        )
        .map_err(failed)?;
    if sequenced.is_none_or(|next| next < *size) {
        return Err(Failure::wrong(OPERATION, "the checkpoint covers leaves that are not there"));
    }
    if *size < work.from {
        return Err(Failure::wrong(OPERATION, "the checkpoint covers no new leaf"));
    }
    let newest = newest_checkpoint(conn, org, lane).map_err(failed)?;
    let (newest, held) = newest.unwrap_or_default();
    if newest != work.from {
        return Err(Failure::Stale);
    }
    if *size == newest {
        return sign_again(conn, org, work, &held);
    }
    for tile in tiles {
        conn.execute(
            "INSERT INTO tile (org, lane, level, place, hashes) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (org, lane, level, place) DO UPDATE SET hashes = excluded.hashes",
            &[
                org.into(),
                lane.into(),
                u16::from(tile.level).into(),
                tile.index.into(),
                tile.hashes.as_slice().into(),
            ],
        )
        .map_err(failed)?;
    }
    conn.execute(
        "INSERT INTO checkpoint (org, lane, size, note) VALUES ($1, $2, $3, $4)",
        &[org.into(), lane.into(), (*size).into(), note.into()],
    )
    .map_err(failed)?;
    Ok(())
}
