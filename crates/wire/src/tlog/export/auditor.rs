//! The offline verifier of an audit export: line by line, with the public keys only.

use super::super::checkpoint::{self, Checkpoint};
use super::super::claim::{CHECKPOINTED, Claim};
use super::super::note::{NoteError, Vkey};
use super::super::succession;
use super::claims::Claimed;
use super::finding::{ClaimsReport, FINDINGS_MAX, Finding, Findings, Report, Signer};
use super::lane::Lane;
use super::line::{self, Body, EventRecord, Header, LINE_LEN_MAX, LineError};

/// Reads an export and finds what was altered. Its memory does not grow with the file.
pub struct Auditor {
    /// Those that were given, then those that statements in the file introduced.
    vkeys: Vec<Vkey>,
    given: usize,
    kept: Vec<Checkpoint>,
    findings: Findings,
    stage: Stage,
    lanes: Vec<Lane>,
    /// The logs that lanes tell of and the file does not have, as many as there are findings.
    missing: Vec<String>,
    /// What was told of these, and what was erased.
    told: ClaimsReport,
    lines: u64,
    events: u64,
    checkpoints: u64,
}

/// Which lines may come next.
enum Stage {
    Header,
    Body,
    End,
}

impl Auditor {
    /// An auditor who trusts these keys: the keys of the logs, each named like its log's origin.
    pub fn new(vkeys: Vec<Vkey>) -> Self {
        Self {
            given: vkeys.len(),
            vkeys,
            kept: Vec::new(),
            findings: Findings::default(),
            stage: Stage::Header,
            lanes: Vec::new(),
            missing: Vec::new(),
            told: ClaimsReport::default(),
            lines: 0,
            events: 0,
            checkpoints: 0,
        }
    }

    /// Demands that the export continue a checkpoint that was kept elsewhere. To be called before
    /// the first line. An error means that the kept note itself is not signed by a given key.
    pub fn against(&mut self, note: &[u8]) -> Result<(), NoteError> {
        self.kept.push(checkpoint::open(note, &self.vkeys)?);
        Ok(())
    }

    /// Reads the next line, with or without its line end. What is wrong with it goes into the
    /// report.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        let line = line.strip_suffix('\n').unwrap_or(line);
        if let Err(error) = self.read(line) {
            self.findings.add(Finding::malformed(self.lines, error));
        }
    }

    fn read(&mut self, line: &str) -> Result<(), LineError> {
        if line.len() > LINE_LEN_MAX {
            return Err(LineError::TooLong);
        }
        match self.stage {
            Stage::Header => self.header(line),
            Stage::Body if line.starts_with(r#"{"event":"#) => self.event(line),
            Stage::Body if line.starts_with(r#"{"checkpoint":"#) => self.checkpoint(line),
            Stage::Body if line.starts_with(r#"{"end":"#) => self.end(line),
            Stage::Body | Stage::End => Err(LineError::Unexpected),
        }
    }

    fn header(&mut self, line: &str) -> Result<(), LineError> {
        self.stage = Stage::Body;
        let header = Header::read(line).ok_or(LineError::Header)?;
        let count = header.lanes.len();
        self.lanes = header.lanes.iter().filter_map(|lane| Lane::new(lane, count)).collect();
        self.follow(&header);
        Ok(())
    }

    /// Believes whom the given keys name as their successors, each for the lanes of the key that
    /// leads to it.
    fn follow(&mut self, header: &Header) {
        let name = succession::log_name(&header.issuer);
        let mut further = Vec::new();
        for lane in &header.lanes {
            let given = self.vkeys.iter().filter(|vkey| vkey.name() == lane.origin);
            let known: Vec<_> = given.map(|vkey| vkey.key().clone()).collect();
            let believed = succession::follow(&name, known.iter().cloned(), &header.statements);
            let introduced = believed.iter().filter(|key| !succession::is_among(key, &known));
            further.extend(introduced.filter_map(|key| Vkey::new(&lane.origin, key).ok()));
        }
        self.vkeys.extend(further);
    }

    fn event(&mut self, line: &str) -> Result<(), LineError> {
        let (event, id) = EventRecord::read(line).ok_or(LineError::Event)?;
        let lane = self.lanes.binary_search_by_key(&event.lane, |lane| lane.number);
        let lane = lane.ok().and_then(|lane| self.lanes.get_mut(lane));
        let lane = lane.ok_or(LineError::UnknownLane)?;
        self.events += 1;
        let before = lane.next();
        let is_intact = lane.event(&event, id, &mut self.findings);
        if lane.next() > before {
            let size = lane.next();
            for kept in self.kept.iter().filter(|kept| kept.size == size) {
                if kept.origin == lane.origin {
                    lane.kept(kept, &mut self.findings);
                }
            }
        }
        if is_intact && Claim::is_made_by(event.kind) { self.claims(&event) } else { Ok(()) }
    }

    /// What an event says of other lanes.
    fn claims(&mut self, event: &EventRecord<'_>) -> Result<(), LineError> {
        let (lane, seq) = (event.lane, event.sequence);
        let Body::Kept { payload, .. } = event.body else {
            if event.kind == CHECKPOINTED {
                self.findings.add(Finding::ClaimErased { lane, seq });
            } else {
                self.told.erased += 1;
            }
            return Ok(());
        };
        for claim in Claim::read(event.kind, payload).ok_or(LineError::Claims)? {
            let Claim { origin, size, root } = claim;
            match self.lanes.iter_mut().find(|lane| lane.origin == origin) {
                Some(other) => {
                    let claim = Claimed { by: (lane, seq), size, root };
                    other.claimed(claim, &mut self.findings);
                }
                None => self.missing((lane, seq), origin, size),
            }
        }
        Ok(())
    }

    /// A log that the file does not have, reported once.
    fn missing(&mut self, (lane, seq): (u16, u64), origin: String, size: u64) {
        if self.missing.contains(&origin) || self.missing.len() >= FINDINGS_MAX {
            return;
        }
        self.told.compared += 1;
        self.missing.push(origin.clone());
        self.findings.add(Finding::LaneMissing { lane, seq, origin, size });
    }

    fn checkpoint(&mut self, line: &str) -> Result<(), LineError> {
        let note = line::read_checkpoint(line).ok_or(LineError::Checkpoint)?;
        let origin = note.split('\n').next().unwrap_or_default();
        let lane = self.lanes.iter().find(|lane| lane.origin == origin);
        let (checkpoint, signers) = match checkpoint::open_signed(note.as_bytes(), &self.vkeys) {
            Ok(opened) => opened,
            Err(error) => {
                let (lane, reason) = (lane.map(|lane| lane.number), error.to_string());
                let line = self.lines;
                self.findings.add(Finding::BadSignature { lane, line, reason });
                return Ok(());
            }
        };
        self.checkpoints += 1;
        let signers = self.signers(&signers);
        let lane = self.lanes.iter_mut().find(|lane| lane.origin == origin);
        let placed = lane.ok_or(LineError::UnknownLane)?.checkpoint(
            &checkpoint,
            signers,
            &mut self.findings,
        );
        if placed { Ok(()) } else { Err(LineError::LateCheckpoint) }
    }

    /// Each key once, also where it was given twice.
    fn signers(&self, signers: &[&Vkey]) -> Vec<Signer> {
        let mut named: Vec<Signer> = Vec::new();
        for key in signers.iter().map(ToString::to_string) {
            if named.iter().all(|signer| signer.key != key) {
                let given = self.vkeys[..self.given].iter().any(|vkey| vkey.to_string() == key);
                named.push(Signer { key, given });
            }
        }
        named
    }

    fn end(&mut self, line: &str) -> Result<(), LineError> {
        let stated = line::read_end(line).ok_or(LineError::End)?;
        self.stage = Stage::End;
        if stated != self.events {
            self.findings.add(Finding::WrongCount { stated, counted: self.events });
        }
        Ok(())
    }

    /// The report, once all lines were read.
    pub fn finish(mut self) -> Report {
        if !matches!(self.stage, Stage::End) {
            self.findings.add(Finding::MissingEnd { lines: self.lines });
        }
        let mut claims = self.told;
        for lane in &mut self.lanes {
            lane.finish(&self.kept, &mut self.findings);
            let told = lane.told();
            claims.compared += told.compared;
            claims.not_compared += told.not_compared;
        }
        for kept in &self.kept {
            if kept.size > 0 && self.lanes.iter().all(|lane| lane.origin != kept.origin) {
                let (kept, origin) = (kept.size, kept.origin.clone());
                self.findings.add(Finding::Truncated { lane: None, seq: 0, kept, origin });
            }
        }
        let (findings, findings_left_out) = self.findings.take();
        Report {
            ok: findings.is_empty(),
            complete: !self.lanes.is_empty()
                && self.lanes.iter().all(Lane::is_proven)
                && claims.not_compared == 0,
            events: self.events,
            checkpoints: self.checkpoints,
            claims,
            lanes: self.lanes.into_iter().map(Lane::report).collect(),
            findings,
            findings_left_out,
        }
    }
}
