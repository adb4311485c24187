//! What a log says of its own other lanes: how far each was signed, in an event's payload.
//!
//! Each lane of a log is a tree of its own, so one that is left out leaves no gap in the others. So
//! they name each other: `log.checkpointed` says what the newest checkpoints of the other lanes were,
//! and `log.generation_started` those of the lanes that were closed. Both say it in
//! `changes.checkpoints`, a line each: origin, size and root, parted by one space. Whoever drops a
//! lane, cuts it or builds it anew has to change the lanes that tell of it, too, and what was signed
//! of these is in the hands of others.
//!
//! Absent on purpose: signatures. A claim is a leaf of a lane whose own checkpoints are signed.

use std::fmt;

use serde::Deserialize;

use super::Hash;
use super::note::is_key_name;

/// The type of the event in which a lane tells of the others.
pub const CHECKPOINTED: &str = "log.checkpointed";

/// The type of the event with which a generation begins: it tells of the lanes that it closed.
pub const GENERATION_STARTED: &str = "log.generation_started";

/// Claims of one event at most: as many as a log has lanes.
pub const CLAIMS_MAX: usize = 64;

/// What a lane says of another: that a checkpoint of this size and root was signed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The other lane's origin.
    pub origin: String,
    /// How many leaves it had, at least one.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root } = self;
        write!(f, "{origin} {size} {root}")
    }
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    changes: Changes,
}

#[derive(Default, Deserialize)]
struct Changes {
    #[serde(default)]
    checkpoints: Option<String>,
}

impl Claim {
    fn parse(line: &str) -> Option<Self> {
        let (origin, rest) = line.split_once(' ')?;
        let (size, root) = rest.split_once(' ')?;
        let is_decimal = size.bytes().all(|b| b.is_ascii_digit()) && !size.starts_with('0');
        (is_key_name(origin) && is_decimal).then_some(())?;
        Some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: Hash::from_hex(root)?,
        })
    }

    /// The claims as a payload holds them.
    pub fn lines(claims: &[Self]) -> String {
        claims.iter().map(Self::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Whether events of this type make claims.
    pub fn is_made_by(kind: &str) -> bool {
        kind == CHECKPOINTED || kind == GENERATION_STARTED
    }

    /// What an event of such a type claims, from its payload; nothing where that is not written so. A
    /// generation may have closed nothing, but [`CHECKPOINTED`] without a claim is none.
    pub fn read(kind: &str, payload: &str) -> Option<Vec<Self>> {
        let said: Payload = serde_json::from_str(payload).ok()?;
        let Some(lines) = said.changes.checkpoints else {
            return (kind == GENERATION_STARTED).then(Vec::new);
        };
        if lines.is_empty() && kind == GENERATION_STARTED {
            return Some(Vec::new());
        }
        let claims: Option<Vec<_>> =
            lines.split('\n').take(CLAIMS_MAX + 1).map(Self::parse).collect();
        claims.filter(|claims| claims.len() <= CLAIMS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(lines: &str) -> String {
        serde_json::json!({ "changes": { "checkpoints": lines }, "v": 1 }).to_string()
    }

    fn read(lines: &str) -> Option<Vec<Claim>> {
        Claim::read(CHECKPOINTED, &payload(lines))
    }

    #[test]
    fn texts_near_a_claim_are_refused() {
        let root = "0a".repeat(32);
        let good = format!("h/o/dev/log/g1l1 7 {root}");
        assert_eq!(read(&good).expect("a claim")[0].size, 7);
        for wrong in [
            String::new(),
            format!("{good}\n"),
            format!("\n{good}"),
            format!("{good} "),
            format!("{good}\n\n{good}"),
            good.replace(" 7 ", "  7 "),
            good.replace(" 7 ", " 0 "),
            good.replace(" 7 ", " 07 "),
            good.replace(" 7 ", " -7 "),
            good.replace(" 7 ", " +7 "),
            good.replace(" 7 ", " 18446744073709551616 "),
            good.replace("0a", "0A"),
            good[..good.len() - 1].to_owned(),
            good.replace("g1l1", "g1+l1"),
            good.replace("h/o/dev/log/g1l1", ""),
            vec![good.clone(); CLAIMS_MAX + 1].join("\n"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
        assert_eq!(read(&vec![good.clone(); CLAIMS_MAX].join("\n")).map(|it| it.len()), Some(64));
    }

    #[test]
    fn a_generation_may_have_closed_nothing_and_a_lane_that_tells_of_others_tells_of_some() {
        for nothing in [r#"{"v":1}"#, r#"{"changes":{"cause":"restore"},"v":1}"#, &payload("")] {
            assert_eq!(Claim::read(GENERATION_STARTED, nothing), Some(Vec::new()), "{nothing}");
            assert_eq!(Claim::read(CHECKPOINTED, nothing), None, "{nothing}");
        }
        for wrong in ["", "[]x", r#"{"changes":7}"#, r#"{"changes":{"checkpoints":7}}"#] {
            assert_eq!(Claim::read(GENERATION_STARTED, wrong), None, "{wrong}");
        }
        let twice = r#"{"changes":{"checkpoints":"a","checkpoints":"a"}}"#;
        assert_eq!(Claim::read(GENERATION_STARTED, twice), None);
    }

    proptest! {
        #[test]
        fn claims_are_read_as_they_are_written(
            written in prop::collection::vec(("[a-z0-9./]{1,40}", 1u64.., any::<[u8; 32]>()), 1..20),
        ) {
            let claims: Vec<_> = written
                .into_iter()
                .map(|(origin, size, root)| Claim { origin, size, root: Hash::new(root) })
                .collect();
            prop_assert_eq!(read(&Claim::lines(&claims)), Some(claims));
        }

        #[test]
        fn what_is_accepted_has_one_spelling(lines in "[a-f0-9 \n/]{0,200}|h 1 [0-9a-fA-F]{63,65}") {
            if let Some(claims) = read(&lines) {
                prop_assert_eq!(Claim::lines(&claims), lines);
            }
        }
    }
}
