//! C2SP tlog-checkpoint: what a log's key signs about its tree.
//!
//! The text is the log's origin, the number of leaves and the root, a line each. The origin is the
//! name of the log's key, so a checkpoint of one log never passes for one of another. We write no
//! extension lines; those of others are accepted under a signature and not looked at.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Hash;
use super::note::{self, NoteError, Vkey, is_key_name};

/// How many leaves a log has, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log: a URL without its scheme, without white space and `+`.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root of the tree with that many leaves.
    pub root: Hash,
}

/// The text that is signed: three lines.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.bytes());
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)
    }
}

impl Checkpoint {
    /// The bytes that the log's Ed25519 key signs.
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The signed note, from the key's signature over [`Checkpoint::bytes_to_sign`]. The key's name
    /// must be the origin, or nobody will open the note.
    pub fn note(&self, vkey: &Vkey, signature: &[u8; 64]) -> String {
        note::assemble(&self.to_string(), &vkey.signature_line(signature))
    }

    /// Reads the text of a checkpoint. It says nothing about who wrote it.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        Self::read(text).ok_or(NoteError::NotCheckpoint)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = STANDARD.decode(root).ok()?;
        let is_decimal =
            size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        if !is_key_name(origin) || !is_decimal || lines.any(str::is_empty) {
            return None;
        }
        let (size, root) = (size.parse().ok()?, Hash::from_slice(&root)?);
        Some(Self { origin: origin.to_owned(), size, root })
    }
}

/// Opens a signed checkpoint: at least one of `vkeys` with the name of the checkpoint's origin
/// signed it, no other known key's signature fails, and unknown signatures are ignored.
pub fn open(note: &[u8], vkeys: &[Vkey]) -> Result<Checkpoint, NoteError> {
    open_signed(note, vkeys).map(|(checkpoint, _)| checkpoint)
}

/// The same, with those of `vkeys` that signed it under the name of its origin, in their order in
/// the note.
pub fn open_signed<'v>(
    note: &[u8],
    vkeys: &'v [Vkey],
) -> Result<(Checkpoint, Vec<&'v Vkey>), NoteError> {
    let opened = note::open(note, vkeys)?;
    let checkpoint = Checkpoint::parse(opened.text)?;
    let mut signers = opened.signers;
    signers.retain(|vkey| vkey.name() == checkpoint.origin);
    if signers.is_empty() {
        return Err(NoteError::WrongOrigin(checkpoint.origin));
    }
    Ok((checkpoint, signers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;

    const ORIGIN: &str = "id.example/o/dev/log/g1l0";

    fn key(name: &str, seed: u8) -> (PrivateKey, Vkey) {
        let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        let vkey = Vkey::new(name, &key.public().expect("public")).expect("a verifier key");
        (key, vkey)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), size: 7, root: Hash::new([3; 32]) }
    }

    #[test]
    fn a_checkpoint_opens_under_the_key_of_its_origin() {
        let (private, vkey) = key(ORIGIN, 1);
        let signature = private.sign(&checkpoint().bytes_to_sign()).expect("a signature");
        let note = checkpoint().note(&vkey, &signature);
        assert!(note.starts_with("id.example/o/dev/log/g1l0\n7\nAwMD"), "{note}");
        assert_eq!(open(note.as_bytes(), &[vkey]), Ok(checkpoint()));
    }

    #[test]
    fn a_checkpoint_of_one_log_does_not_pass_for_one_of_another() {
        let (private, vkey) = key("id.example/o/evil/log/g1l0", 2);
        let signature = private.sign(&checkpoint().bytes_to_sign()).expect("a signature");
        let note = checkpoint().note(&vkey, &signature);
        let both = [key(ORIGIN, 1).1, vkey];
        assert_eq!(open(note.as_bytes(), &both), Err(NoteError::WrongOrigin(ORIGIN.to_owned())));
        let (forger, forged) = key(ORIGIN, 9);
        let signature = forger.sign(&checkpoint().bytes_to_sign()).expect("a signature");
        let note = checkpoint().note(&forged, &signature);
        assert_eq!(open(note.as_bytes(), &both), Err(NoteError::UnknownKey));
    }

    #[test]
    fn texts_near_a_checkpoint_are_refused() {
        let good = checkpoint().to_string();
        assert_eq!(Checkpoint::parse(&good), Ok(checkpoint()));
        let extended = format!("{good}extension\n");
        assert_eq!(Checkpoint::parse(&extended), Ok(checkpoint()));
        for wrong in [
            good.trim_end().to_owned(),
            format!("{good}\n"),
            good.replace("\n7\n", "\n07\n"),
            good.replace("\n7\n", "\n+7\n"),
            good.replace("\n7\n", "\n-7\n"),
            good.replace("\n7\n", "\n\n"),
            good.replace("\n7\n", "\n18446744073709551616\n"),
            good.replace("AwM", "A"),
            good.replace('=', ""),
            good.replace("id.example", "id example"),
            good.replace("id.example", "id+example"),
            good.replace(ORIGIN, ""),
            String::new(),
        ] {
            assert_eq!(Checkpoint::parse(&wrong), Err(NoteError::NotCheckpoint), "{wrong:?}");
        }
    }
}
