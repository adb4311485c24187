//! C2SP signed-note: a text with signatures under it, and Ed25519 verifier keys.
//!
//! A note is its text, an empty line, and lines `— <name> base64(key id || signature)`. Anybody
//! may add a signature, so unknown ones are ignored; a known key whose signature fails means that
//! the note was altered, and it is refused. Signatures are over the text's exact bytes.
//!
//! Absent on purpose: private keys. A signature is made by whoever holds the key and handed to
//! [`Vkey::signature_line`]. Other types of cosignature than Ed25519 are unknown here, and ignored.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::{self, Algorithm, PublicKey};

/// The most signatures under a note; the standard asks for at least 16.
pub const SIGNATURES_MAX: usize = 32;

/// The longest note, in bytes: enough for every signature to be a post-quantum one.
pub const NOTE_LEN_MAX: usize = 128 * 1024;

/// The longest name of a key, in bytes.
pub const KEY_NAME_LEN_MAX: usize = 512;

/// The signature type of Ed25519 in a key id and a verifier key.
const ED25519_TYPE: u8 = 0x01;

/// What begins a signature line: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a note, a checkpoint or a verifier key is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// The note is longer than [`NOTE_LEN_MAX`].
    TooLong,
    /// The note is not UTF-8, or holds a control character.
    NotText,
    /// The note is not a text, an empty line and signature lines.
    Shape,
    /// There are more than [`SIGNATURES_MAX`] signatures.
    TooManySignatures,
    /// The signature of this known key does not verify.
    BadSignature(String),
    /// No signature is of a known key.
    UnknownKey,
    /// The text of a checkpoint is not origin, size and root.
    NotCheckpoint,
    /// The note is not signed by a key named like this origin.
    WrongOrigin(String),
    /// The text is not a statement of the log that it is looked at for.
    NotStatement,
    /// The text is not a verifier key `name+id+base64`.
    NotVkey,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the note is longer than {NOTE_LEN_MAX} bytes"),
            Self::NotText => f.write_str("the note is not UTF-8 without control characters"),
            Self::Shape => f.write_str("the note is not a text, an empty line and signature lines"),
            Self::TooManySignatures => {
                write!(f, "the note has more than {SIGNATURES_MAX} signatures")
            }
            Self::BadSignature(name) => {
                write!(f, "the signature of the key `{name}` does not verify")
            }
            Self::UnknownKey => {
                f.write_str("none of the note's signatures is of a key that was given")
            }
            Self::NotCheckpoint => {
                f.write_str("the checkpoint is not the lines origin, size and base64 root")
            }
            Self::WrongOrigin(origin) => {
                write!(
                    f,
                    "the checkpoint is not signed by a key with the name of its origin `{origin}`"
                )
            }
            Self::NotStatement => {
                f.write_str("the note does not name a successor of the log's key")
            }
            Self::NotVkey => f.write_str("expected an Ed25519 verifier key `name+id+base64`"),
        }
    }
}

impl std::error::Error for NoteError {}

/// An Ed25519 key that verifies notes, with the name it signs under. As text,
/// `name+<8 hex digits>+base64(0x01 || 32 bytes)`.
#[derive(Clone, Debug)]
pub struct Vkey {
    name: String,
    id: [u8; 4],
    key: PublicKey,
}

/// The id of an Ed25519 key: the first four bytes of SHA-256(name || 0x0A || 0x01 || key).
pub fn key_id(name: &str, key: &[u8; 32]) -> [u8; 4] {
    let hash = crypto::sha256_of(&[name.as_bytes(), b"\n", &[ED25519_TYPE], key]);
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Whether a key may have this name: not empty, no white space, no control character, no `+`.
pub fn is_key_name(name: &str) -> bool {
    (1..=KEY_NAME_LEN_MAX).contains(&name.len())
        && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

impl Vkey {
    /// The verifier key of an Ed25519 key under a name.
    pub fn new(name: &str, key: &PublicKey) -> Result<Self, NoteError> {
        let bytes = key.bytes().try_into().map_err(|_| NoteError::NotVkey)?;
        if key.algorithm() != Algorithm::EdDsa || !is_key_name(name) {
            return Err(NoteError::NotVkey);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, bytes), key: key.clone() })
    }

    /// The name the key signs under; for a log's key, the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id, four bytes that tell keys of one name apart.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The line, with its line end, that adds this key's signature to a note.
    pub fn signature_line(&self, signature: &[u8; 64]) -> String {
        let blob = [&self.id[..], signature].concat();
        format!("{SIGNATURE_MARK}{} {}\n", self.name, STANDARD.encode(blob))
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_TYPE], self.key.bytes()].concat();
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for Vkey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = NoteError::NotVkey;
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::NotVkey)?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else { return Err(wrong) };
        let key = key.try_into().map_err(|_| NoteError::NotVkey)?;
        let vkey = Self::new(name, &PublicKey::ed25519(key).map_err(|_| NoteError::NotVkey)?)?;
        // One spelling; and the id must be that of this name and key.
        if vkey.to_string() == text { Ok(vkey) } else { Err(wrong) }
    }
}

/// Joins a text, which must end in a line end, with its signature lines.
pub fn assemble(text: &str, signature_lines: &str) -> String {
    format!("{text}\n{signature_lines}")
}

/// Whether a key's signature stands under a note. Whether it holds, [`open`] says.
pub fn bears(note: &str, vkey: &Vkey) -> bool {
    let (_, signatures) = note.rsplit_once("\n\n").unwrap_or_default();
    let of_key = |line: &str| {
        Signature::read(line).is_some_and(|by| by.name == vkey.name && by.id == vkey.id)
    };
    signatures.lines().any(of_key)
}

/// A note whose known signatures verify.
#[derive(Debug)]
pub struct Opened<'n, 'v> {
    /// The signed text, with its last line end.
    pub text: &'n str,
    /// The keys whose signatures verified, at least one, in the note's order.
    pub signers: Vec<&'v Vkey>,
}

/// Opens a note: at least one of `vkeys` signed it, and each of them that stands under it did.
pub fn open<'n, 'v>(note: &'n [u8], vkeys: &'v [Vkey]) -> Result<Opened<'n, 'v>, NoteError> {
    if note.len() > NOTE_LEN_MAX {
        return Err(NoteError::TooLong);
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::NotText)?;
    if note.contains(|c: char| c.is_control() && c != '\n') {
        return Err(NoteError::NotText);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Shape)?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Shape)?;
    let mut signers = Vec::new();
    for (count, line) in signatures.split('\n').enumerate() {
        if count >= SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        let signature = Signature::read(line).ok_or(NoteError::Shape)?;
        let known = |vkey: &&Vkey| vkey.name == signature.name && vkey.id == signature.id;
        for vkey in vkeys.iter().filter(known) {
            vkey.key
                .verify(text.as_bytes(), &signature.bytes)
                .map_err(|_| NoteError::BadSignature(vkey.name.clone()))?;
            signers.push(vkey);
        }
    }
    if signers.is_empty() { Err(NoteError::UnknownKey) } else { Ok(Opened { text, signers }) }
}

/// A signature line, taken apart.
struct Signature<'n> {
    name: &'n str,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl<'n> Signature<'n> {
    fn read(line: &'n str) -> Option<Self> {
        let (name, blob) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
        let blob = STANDARD.decode(blob).ok()?;
        let (id, bytes) = blob.split_first_chunk::<4>()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self {
            name,
            id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
