//! The backup file, in our own format `accredit-backup` 1: a store's bytes under AES-256-GCM (NIST
//! SP 800-38D) in chunks, each bound to its file, its place and whether it is the last (as in the
//! STREAM construction).
//!
//! A header line in clear, then frames. Their content is one line with the [`Manifest`], then the
//! store. An edited, left out, repeated, moved or cut off frame does not open, and nothing may come
//! after the last one. The key is derived from the root key and the header's salt, so that each
//! file has its own and a nonce is used once. Absent on purpose: reading and writing files, and the
//! root key, of which the header has a name only.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{open, seal, sha256};
use crate::jose::{b64url_decode_array, b64url_encode};

/// The version of the format.
pub const BACKUP_VERSION: u64 = 1;
/// The longest header, in bytes with its end of line.
pub const HEADER_BYTES_MAX: usize = 512;
/// Plain bytes of every frame but the last, which has this many or fewer.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// The longest manifest, in bytes with its end of line: 10,000 organizations with many lanes.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes before each frame's ciphertext: whether it is the last (0 or 1), and the length.
pub const FRAME_HEAD_LEN: usize = 5;

/// Nonce and tag of a ciphertext.
const SEAL_BYTES: usize = 12 + 16;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name of the root key that opens it: says which of several keys, and nothing of any.
    pub root_key: [u8; 8],
    /// What the file's key is derived with, besides the root key.
    pub salt: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderJson {
    accredit_backup: u64,
    root_key: String,
    salt: String,
}

impl Header {
    /// The root key's name, as it is written.
    pub fn root_key_hex(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.root_key))
    }

    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let name = self.root_key_hex();
        let salt = b64url_encode(&self.salt);
        format!(
            "{{\"accredit_backup\":{BACKUP_VERSION},\"root_key\":\"{name}\",\"salt\":\"{salt}\"}}\n"
        )
    }

    /// Reads [`Header::to_line`], which is the one spelling.
    pub fn parse(line: &[u8]) -> Result<Self, BackupError> {
        if line.len() > HEADER_BYTES_MAX {
            return Err(BackupError::Header);
        }
        let json: HeaderJson = serde_json::from_slice(line).map_err(|_| BackupError::Header)?;
        if json.accredit_backup != BACKUP_VERSION {
            return Err(BackupError::Version(json.accredit_backup));
        }
        let salt = b64url_decode_array(&json.salt).map_err(|_| BackupError::Header)?;
        let name = u64::from_str_radix(&json.root_key, 16).map_err(|_| BackupError::Header)?;
        let header = Self { root_key: name.to_be_bytes(), salt };
        if header.to_line().as_bytes() == line { Ok(header) } else { Err(BackupError::Header) }
    }
}

/// Whether a frame is followed by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Others follow.
    Inner,
    /// It is the last.
    Last,
}

/// Where a file's frames have got to, and under which key.
struct Chain {
    key: Zeroizing<[u8; 32]>,
    header: [u8; 32],
    next: u64,
}

impl Chain {
    fn new(key: &[u8; 32], header: &Header) -> Self {
        Self { key: Zeroizing::new(*key), header: sha256(header.to_line().as_bytes()), next: 0 }
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next.to_be_bytes());
        nonce
    }

    fn aad(&self, place: Place) -> [u8; 41] {
        let mut aad = [0; 41];
        aad[..32].copy_from_slice(&self.header);
        aad[32..40].copy_from_slice(&self.next.to_be_bytes());
        aad[40] = u8::from(place == Place::Last);
        aad
    }
}

/// Makes the frames of one file, in their order.
pub struct Sealer(Chain);

impl Sealer {
    /// For the file with this header, under the key derived for it.
    pub fn new(key: &[u8; 32], header: &Header) -> Self {
        Self(Chain::new(key, header))
    }

    /// The next frame. An inner one takes exactly [`CHUNK_BYTES`], the last one at most.
    pub fn seal(&mut self, plain: &[u8], place: Place) -> Result<Vec<u8>, BackupError> {
        let fits = match place {
            Place::Inner => plain.len() == CHUNK_BYTES,
            Place::Last => plain.len() <= CHUNK_BYTES,
        };
        if !fits {
            return Err(BackupError::Frame);
        }
        let chain = &mut self.0;
        let sealed = seal(&chain.key, chain.nonce(), &chain.aad(place), plain);
        let sealed = sealed.map_err(|_| BackupError::Opens(chain.next))?;
        let mut frame = Vec::with_capacity(FRAME_HEAD_LEN + sealed.len());
        frame.push(u8::from(place == Place::Last));
        frame.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
        frame.extend_from_slice(&sealed);
        chain.next += 1;
        Ok(frame)
    }
}

/// Reads the five bytes before a ciphertext: its place, and how many bytes it has.
pub fn frame_head(head: [u8; FRAME_HEAD_LEN]) -> Result<(Place, usize), BackupError> {
    let [last, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    match last {
        0 if length == SEAL_BYTES + CHUNK_BYTES => Ok((Place::Inner, length)),
        1 if (SEAL_BYTES..=SEAL_BYTES + CHUNK_BYTES).contains(&length) => Ok((Place::Last, length)),
        _ => Err(BackupError::Frame),
    }
}

/// Opens the frames of one file, in their order.
pub struct Opener {
    chain: Chain,
    ended: bool,
}

impl Opener {
    /// For the file with this header, under the key derived for it.
    pub fn new(key: &[u8; 32], header: &Header) -> Self {
        Self { chain: Chain::new(key, header), ended: false }
    }

    /// The content of the next frame, whose head was read by [`frame_head`].
    pub fn open(&mut self, place: Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackupError> {
        let chain = &mut self.chain;
        if self.ended {
            return Err(BackupError::Trailing);
        }
        if !sealed.starts_with(&chain.nonce()) {
            return Err(BackupError::Opens(chain.next));
        }
        let plain = open(&chain.key, &chain.aad(place), sealed);
        let plain = plain.map_err(|_| BackupError::Opens(chain.next))?;
        chain.next += 1;
        self.ended = place == Place::Last;
        Ok(plain)
    }

    /// To be called where the file ends.
    pub fn finish(&self) -> Result<(), BackupError> {
        if self.ended { Ok(()) } else { Err(BackupError::CutOff) }
    }
}

/// What a backup holds, the first line of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// When it was made, microseconds.
    pub created_at: i64,
    /// The version of the program that made it.
    pub program: String,
    /// The newest migration of the store's schema.
    pub schema: i64,
    /// Where the installation is reached.
    pub public_url: String,
    /// Bytes of the store that follow.
    pub bytes: u64,
    /// Its organizations.
    pub organizations: Vec<ManifestOrganization>,
}

/// An organization in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestOrganization {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The generation of the store.
    pub generation: u64,
    /// Its revocation counter.
    pub rev: u64,
    /// The lanes of its log.
    pub lanes: Vec<ManifestLane>,
}

/// A lane of a log in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLane {
    /// Its number.
    pub lane: u16,
    /// Events in it.
    pub sequenced: u64,
    /// The newest checkpoint, a signed note.
    pub checkpoint: Option<String>,
}

impl Manifest {
    /// The line, with its end.
    pub fn to_line(&self) -> Result<Vec<u8>, BackupError> {
        let mut line = serde_json::to_vec(self).map_err(|_| BackupError::Manifest)?;
        line.push(b'\n');
        if line.len() > MANIFEST_BYTES_MAX { Err(BackupError::Manifest) } else { Ok(line) }
    }

    /// Reads [`Manifest::to_line`], with or without its end.
    pub fn parse(line: &[u8]) -> Result<Self, BackupError> {
        serde_json::from_slice(line).map_err(|_| BackupError::Manifest)
    }
}

/// Why a file is not read as a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupError {
    /// It does not begin as a backup does.
    Header,
    /// It is of another version of the format.
    Version(u64),
    /// A frame has a length that none has.
    Frame,
    /// The frame of this number does not open: edited, moved, or under another key.
    Opens(u64),
    /// The file ends before its last frame, or within one.
    CutOff,
    /// Something comes after the last frame.
    Trailing,
    /// The list of what it holds cannot be read.
    Manifest,
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("it does not begin as a backup of Accredit does"),
            Self::Version(version) => {
                write!(f, "it is of version {version} of the format, and {BACKUP_VERSION} is known")
            }
            Self::Frame => f.write_str("one of its parts has a length that none can have"),
            Self::Opens(number) => write!(
                f,
                "its part {number} does not open: it was edited, moved or taken from another file"
            ),
            Self::CutOff => f.write_str("it is cut off"),
            Self::Trailing => f.write_str("something was appended to it"),
            Self::Manifest => f.write_str("the list of what it holds cannot be read"),
        }
    }
}

impl std::error::Error for BackupError {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { root_key: [0xab; 8], salt: [7; 32] };

    const KEY: [u8; 32] = [3; 32];

    /// A file of two full frames and a short one.
    fn frames() -> Vec<Vec<u8>> {
        let mut sealer = Sealer::new(&KEY, &HEADER);
        let full = |byte: u8| vec![byte; CHUNK_BYTES];
        vec![
            sealer.seal(&full(1), Place::Inner).expect("sealed"),
            sealer.seal(&full(2), Place::Inner).expect("sealed"),
            sealer.seal(b"end", Place::Last).expect("sealed"),
        ]
    }

    fn read(header: &Header, bytes: &[u8]) -> Result<usize, BackupError> {
        let mut opener = Opener::new(&KEY, header);
        let (mut rest, mut read) = (bytes, 0);
        while !rest.is_empty() {
            let (head, body) = rest.split_first_chunk().ok_or(BackupError::CutOff)?;
            let (place, length) = frame_head(*head)?;
            let sealed = body.get(..length).ok_or(BackupError::CutOff)?;
            read += opener.open(place, sealed)?.len();
            rest = &body[length..];
        }
        opener.finish().map(|()| read)
    }

    #[test]
    fn frames_open_in_their_order_and_in_no_other() {
        let frames = frames();
        let file = |order: &[usize]| -> Vec<u8> {
            order.iter().flat_map(|index| frames[*index].clone()).collect()
        };
        assert_eq!(read(&HEADER, &file(&[0, 1, 2])), Ok(2 * CHUNK_BYTES + 3));
        assert_eq!(read(&HEADER, &file(&[1, 0, 2])), Err(BackupError::Opens(0)));
        assert_eq!(read(&HEADER, &file(&[0, 2])), Err(BackupError::Opens(1)), "one left out");
        assert_eq!(read(&HEADER, &file(&[0, 0, 2])), Err(BackupError::Opens(1)), "one repeated");
        assert_eq!(read(&HEADER, &file(&[0, 1])), Err(BackupError::CutOff));
        assert_eq!(read(&HEADER, &file(&[])), Err(BackupError::CutOff));
        assert_eq!(read(&HEADER, &file(&[0, 1, 2, 2])), Err(BackupError::Trailing));
        assert_eq!(read(&HEADER, &[file(&[0, 1, 2]), vec![0]].concat()), Err(BackupError::CutOff));
    }

    #[test]
    fn no_byte_can_be_changed_and_no_end_cut_off() {
        let frames = frames();
        let file = frames.concat();
        let places = (0..80).chain(frames[0].len() - 20..frames[0].len() + 80);
        for place in places.chain(file.len() - 40..file.len()) {
            let mut edited = file.clone();
            edited[place] ^= 1;
            assert!(read(&HEADER, &edited).is_err(), "byte {place}");
            assert_eq!(read(&HEADER, &file[..place]), Err(BackupError::CutOff), "cut at {place}");
        }
        // An inner frame that is said to be the last one, and the other way round.
        let mut ended = frames[0].clone();
        ended[0] = 1;
        assert_eq!(read(&HEADER, &ended), Err(BackupError::Opens(0)));
    }

    #[test]
    fn frames_belong_to_their_header_and_their_key() {
        let file = frames().concat();
        let other = Header { salt: [8; 32], ..HEADER };
        assert_eq!(read(&other, &file), Err(BackupError::Opens(0)));
        let mut wrong = Opener::new(&[4; 32], &HEADER);
        let (head, body) = file.split_first_chunk().expect("a frame");
        let (place, length) = frame_head(*head).expect("a head");
        assert_eq!(wrong.open(place, &body[..length]).err(), Some(BackupError::Opens(0)));
    }

    #[test]
    fn a_header_has_one_spelling() {
        let line = HEADER.to_line();
        assert_eq!(Header::parse(line.as_bytes()), Ok(HEADER));
        for (from, to) in [
            ("{", "{ "),
            ("\n", ""),
            ("\n", "\n\n"),
            ("abab", "ABab"),
            ("abab", "ab"),
            ("abab", "ababab"),
            ("\"salt\":\"", "\"salt\":\"A"),
            ("}", ",\"x\":1}"),
        ] {
            let bent = line.replacen(from, to, 1);
            assert_eq!(Header::parse(bent.as_bytes()), Err(BackupError::Header), "{bent}");
        }
        let newer = line.replacen("backup\":1", "backup\":2", 1);
        assert_eq!(Header::parse(newer.as_bytes()), Err(BackupError::Version(2)));
    }
}
