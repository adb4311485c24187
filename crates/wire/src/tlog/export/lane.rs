//! One log of an export while it is read: the chain, the tree, and what makes a finding precise.
//!
//! The first alteration must be named exactly, but one line alone does not always say which it is.
//! Three things are settled by what follows: whether a gap is a loss or a disorder (the missing
//! event turns up later), whether an event or only its leaf hash was changed (the next event's leaf
//! covers it), and whether a broken link is the later event's or the earlier one's, whose hash was
//! computed anew (the next signed root covers both).

use super::super::Hash;
use super::super::checkpoint::Checkpoint;
use super::super::tree::Frontier;
use super::claims::{Claimed, Claims};
use super::finding::{ClaimsReport, Finding, Findings, LaneReport, Signer};
use super::line::{EventRecord, LaneHeader};
use crate::ids::EventId;
use crate::time::Time;

/// The state of one log.
pub(super) struct Lane {
    pub(super) number: u16,
    pub(super) origin: String,
    from: u64,
    /// The sequence number that comes next.
    next: u64,
    /// The leaf hash before it; unknown behind a gap.
    previous: Option<Hash>,
    previous_at: Time,
    /// The tree, without the leaf of `doubt`. Kept only while every leaf from 0 on is known.
    frontier: Option<Frontier>,
    /// The last leaf, where the recorded hash and the computed one differ: one of them is original.
    doubt: Option<(Hash, Hash)>,
    /// Events whose leaf does not fit, since the last good root.
    broken: Broken,
    gaps: Vec<Gap>,
    /// Everything below this is what was signed.
    good: u64,
    /// The size of the last accepted checkpoint.
    signed: u64,
    /// Who signed the last one whose root the events give.
    signed_by: Vec<Signer>,
    /// What other lanes say of this one.
    claims: Claims,
    /// How many of them were compared, and not.
    told: ClaimsReport,
    /// Whether one of them was found to say something else.
    is_contradicted: bool,
}

#[derive(Default)]
struct Broken {
    count: u64,
    /// The first of them: its finding, its sequence number, the time of the event before it.
    first: Option<(usize, u64, Time)>,
}

/// A range of missing events, and its finding.
struct Gap {
    from: u64,
    until: u64,
    finding: usize,
}

impl Lane {
    /// One of so many. `None` where the header lacks the leaf before the first event.
    pub(super) fn new(header: &LaneHeader, lanes: usize) -> Option<Self> {
        Some(Self {
            number: header.lane,
            origin: header.origin.clone(),
            from: header.from,
            next: header.from,
            previous: Some(header.previous()?),
            previous_at: Time::default(),
            frontier: (header.from == 0).then(Frontier::new),
            doubt: None,
            broken: Broken::default(),
            gaps: Vec::new(),
            good: 0,
            signed: header.from,
            signed_by: Vec::new(),
            claims: Claims::of_one_of(lanes),
            told: ClaimsReport::default(),
            is_contradicted: false,
        })
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether a signed root was recomputed over every event.
    pub(super) fn is_proven(&self) -> bool {
        self.frontier.is_some() && self.good == self.next && self.signed == self.next
    }

    /// The next event; whether it is as it was logged, as far as that is known yet.
    pub(super) fn event(
        &mut self,
        event: &EventRecord<'_>,
        id: &str,
        findings: &mut Findings,
    ) -> bool {
        if event.sequence != self.next && self.is_misplaced(event, id, findings) {
            return false;
        }
        let mut intact = true;
        if let Some(previous) = self.previous {
            let digest_of = |previous: &Hash| event.leaf_after(previous);
            let computed = digest_of(&previous);
            intact = computed == event.leaf;
            if let Some((recorded, other)) = self.doubt.take() {
                let relinked = !intact && digest_of(&other) == event.leaf;
                intact |= relinked;
                self.append(if relinked { other } else { recorded });
            }
            if !intact {
                self.doubt = Some((event.leaf, computed));
                self.edited(event, id, findings);
            }
        }
        if intact {
            self.append(event.leaf);
            if !is_text_of(event.id(), id) {
                findings.add(wrong_id(event, id));
            }
        }
        self.previous = Some(event.leaf);
        self.previous_at = event.at;
        self.next += 1;
        self.settle(findings);
        intact
    }

    /// What another lane, or this one before, says of this one.
    pub(super) fn claimed(&mut self, claim: Claimed, findings: &mut Findings) {
        if claim.size > self.next {
            self.told.not_compared += u64::from(self.claims.wait(claim).is_some());
            return;
        }
        let kept = self.claims.root_at(claim.size);
        self.compare(claim, kept.or_else(|| self.root_of(claim.size)), findings);
    }

    /// Compares the claims that waited for what was read by now.
    fn settle(&mut self, findings: &mut Findings) {
        while let Some(claim) = self.claims.next_up_to(self.next) {
            self.compare(claim, self.root_of(claim.size), findings);
        }
    }

    /// The root of the events up to here, if that is their number and each leaf is beyond doubt.
    fn root_of(&self, size: u64) -> Option<Hash> {
        let frontier = self.frontier.as_ref().filter(|_| size == self.next && self.doubt.is_none());
        frontier.map(Frontier::root)
    }

    /// Compares a claim with the root of that many events. One that differs is reported once: those
    /// behind it would differ too.
    fn compare(&mut self, claim: Claimed, root: Option<Hash>, findings: &mut Findings) {
        let Some(root) = root else {
            self.told.not_compared += 1;
            return;
        };
        self.told.compared += 1;
        if root != claim.root && !self.is_contradicted {
            self.is_contradicted = true;
            let ((lane, seq), other) = (claim.by, self.number);
            let (origin, size) = (self.origin.clone(), claim.size);
            findings.add(Finding::LaneRewritten { lane, seq, other, origin, size });
        }
    }

    /// How many claims about this lane were compared, and not.
    pub(super) fn told(&self) -> ClaimsReport {
        self.told
    }

    /// An event with another number than comes next: `true` where it is not to be looked at.
    fn is_misplaced(&mut self, event: &EventRecord<'_>, id: &str, findings: &mut Findings) -> bool {
        if !is_text_of(event.id(), id) {
            findings.add(wrong_id(event, id));
            return true;
        }
        if event.sequence > self.next {
            self.gap(event.sequence, findings);
            return false;
        }
        let (lane, seq, id) = (self.number, event.sequence, event.id());
        let late = Finding::Reordered { lane, seq, id, after: self.next.saturating_sub(1) };
        let gap = self.gaps.iter().position(|gap| (gap.from..=gap.until).contains(&seq));
        match gap {
            Some(gap) => findings.replace(self.gaps.swap_remove(gap).finding, late),
            None => drop(findings.add(late)),
        }
        true
    }

    /// The events up to `to` are missing.
    fn gap(&mut self, to: u64, findings: &mut Findings) {
        let (lane, from, until) = (self.number, self.next, to - 1);
        if let Some(finding) = findings.add(Finding::Dropped { lane, seq: from, until }) {
            self.gaps.push(Gap { from, until, finding });
        }
        self.next = to;
        self.previous = None;
        self.doubt = None;
        self.frontier = None;
    }

    fn edited(&mut self, event: &EventRecord<'_>, id: &str, findings: &mut Findings) {
        let (lane, seq) = (self.number, event.sequence);
        let place = findings.add(Finding::Edited { lane, seq, id: id.to_owned() });
        self.broken.count += 1;
        if self.broken.first.is_none() {
            self.broken.first = place.map(|place| (place, seq, self.previous_at));
        }
    }

    fn append(&mut self, leaf: Hash) {
        if let Some(frontier) = &mut self.frontier {
            frontier.append(leaf);
        }
    }

    /// A checkpoint of this log from the file, and who signed it. `false` where it stands behind
    /// later events.
    pub(super) fn checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        signers: Vec<Signer>,
        findings: &mut Findings,
    ) -> bool {
        if checkpoint.size < self.next {
            return false;
        }
        if checkpoint.size > self.next {
            self.gap(checkpoint.size, findings);
            self.settle(findings);
        }
        self.signed = checkpoint.size;
        let (lane, good, bad) = (self.number, self.good, checkpoint.size);
        match self.is_root(&checkpoint.root, findings) {
            Some(true) => {
                self.signed_by = signers;
                self.claims.root(checkpoint.size, checkpoint.root);
            }
            Some(false) => drop(findings.add(Finding::RootMismatch { lane, good, bad })),
            None => {}
        }
        true
    }

    /// A checkpoint kept elsewhere, once as many events were read as it vouches for.
    pub(super) fn kept(&mut self, kept: &Checkpoint, findings: &mut Findings) {
        let (lane, good, bad) = (self.number, self.good, kept.size);
        if self.is_root(&kept.root, findings) == Some(false) {
            findings.add(Finding::Rewritten { lane, good, bad });
        }
    }

    /// Whether the events up to here give this root; `None` where it cannot be known. A root that
    /// differs is reported once: what follows it would differ too.
    fn is_root(&mut self, root: &Hash, findings: &mut Findings) -> Option<bool> {
        let frontier = self.frontier.as_mut()?;
        let fits = match self.doubt.take() {
            None => frontier.root() == *root,
            Some((recorded, computed)) => [computed, recorded].into_iter().any(|leaf| {
                let mut with = frontier.clone();
                with.append(leaf);
                let fits = with.root() == *root;
                if fits || leaf == recorded {
                    *frontier = with;
                    self.previous = Some(leaf);
                }
                fits
            }),
        };
        if fits {
            self.good = self.next;
        } else {
            self.frontier = None;
            self.blame_the_event_before(findings);
        }
        self.broken = Broken::default();
        Some(fits)
    }

    /// The signed root lacks some recorded leaf. If a single link is broken, the event behind it is
    /// intact and names the leaf that was there before: the event before it was changed, and its
    /// hash with it.
    fn blame_the_event_before(&self, findings: &mut Findings) {
        if let (1, Some((finding, seq, at))) = (self.broken.count, self.broken.first)
            && seq > self.good
        {
            let (lane, seq) = (self.number, seq - 1);
            let id = EventId::at(at.millis(), lane, seq).to_string();
            findings.replace(finding, Finding::Edited { lane, seq, id });
        }
    }

    /// The events that no checkpoint covers, what other lanes know of events that are not there, and
    /// the checkpoints kept elsewhere that were not reached or cannot be compared.
    pub(super) fn finish(&mut self, kept: &[Checkpoint], findings: &mut Findings) {
        let lane = self.number;
        if self.signed < self.next {
            findings.add(Finding::UnsignedTail { lane, seq: self.signed });
        }
        if let Some((count, Claimed { by: (lane, seq), size, .. })) = self.claims.left() {
            self.told.compared += count;
            let (other, origin, has) = (self.number, self.origin.clone(), self.next);
            findings.add(Finding::LaneShort { lane, seq, other, origin, size, has });
        }
        for kept in kept.iter().filter(|kept| kept.origin == self.origin) {
            if kept.size > self.next {
                let (seq, origin) = (self.next, self.origin.clone());
                let lane = Some(lane);
                findings.add(Finding::Truncated { lane, seq, kept: kept.size, origin });
            } else if self.from > 0 && kept.size > 0 {
                findings.add(Finding::NotComparable { lane, seq: self.from });
            }
        }
    }

    pub(super) fn report(self) -> LaneReport {
        let root = self.frontier.filter(|_| self.doubt.is_none());
        LaneReport {
            lane: self.number,
            origin: self.origin,
            from: self.from,
            size: self.next,
            proven: self.good,
            signed_by: self.signed_by,
            root: root.map(|frontier| frontier.root().to_string()),
        }
    }
}

fn wrong_id(event: &EventRecord<'_>, id: &str) -> Finding {
    let (lane, seq) = (event.lane, event.sequence);
    Finding::WrongId { lane, seq, id: id.to_owned(), expected: event.id() }
}

/// Whether `text` is how `id` is written, without writing it down.
fn is_text_of(id: EventId, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl std::fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    std::fmt::Write::write_fmt(&mut rest, format_args!("{id}")).is_ok() && rest.0.is_empty()
}
