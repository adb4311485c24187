//! Writing and reading a backup file: the content goes through in chunks, and what is written is
//! complete or not there.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::Path;

use accredit_domain::ports::Entropy as _;
use accredit_domain::vault::RootKey;
use accredit_wire::backup::{
    BackupError, CHUNK_BYTES, FRAME_HEAD_LEN, HEADER_BYTES_MAX, Header, MANIFEST_BYTES_MAX,
    Manifest, Opener, Place, Sealer, frame_head,
};
use zeroize::Zeroizing;

use crate::compose::{self, SystemEntropy};
use crate::errors::Failure;
use crate::exit::Exit;
use crate::root_key;

/// Writes the backup of the store in `content`, under a name of its own until it is complete.
/// A file that is there already is left alone.
pub(super) fn write(
    out: &Path,
    root: &RootKey,
    manifest: &Manifest,
    content: &mut File,
) -> Result<(), Failure> {
    let cannot = |error: io::Error| {
        let hint = "choose a name that is not taken, in a folder that may be written to";
        Failure::file(&format!("`{}` could not be written", out.display()), &error, hint)
    };
    let folder = compose::folder_of(out);
    // Readable by its owner alone from the beginning.
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
    let mut salt = [0u8; 32];
    SystemEntropy.fill(&mut salt);
    let header = Header { root_key: root.name(), salt };
    let line = manifest.to_line().map_err(|error| broken(out, error))?;
    let mut sealer = Sealer::new(&root.backup_key(&salt), &header);
    temporary.write_all(header.to_line().as_bytes()).map_err(cannot)?;
    let mut plain = io::Cursor::new(line).chain(content);
    let mut chunk = read_chunk(&mut plain).map_err(cannot)?;
    loop {
        let next = read_chunk(&mut plain).map_err(cannot)?;
        let place = if next.is_empty() { Place::Last } else { Place::Inner };
        let frame = sealer.seal(&chunk, place).map_err(|error| broken(out, error))?;
        temporary.write_all(&frame).map_err(cannot)?;
        if place == Place::Last {
            break;
        }
        chunk = next;
    }
    temporary.as_file().sync_all().map_err(cannot)?;
    temporary.persist_noclobber(out).map_err(|error| cannot(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)
}

/// Up to a whole chunk; empty at the end.
fn read_chunk(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES));
    from.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

/// A backup whose header was read.
pub(super) struct Backup<'a> {
    name: &'a Path,
    header: Header,
    file: BufReader<File>,
}

impl<'a> Backup<'a> {
    /// Opens the file and reads its first line.
    pub(super) fn open(name: &'a Path) -> Result<Self, Failure> {
        let cannot = |error: io::Error| unread(name, &error);
        let mut file = BufReader::new(File::open(name).map_err(cannot)?);
        let mut line = Vec::new();
        let most = HEADER_BYTES_MAX as u64;
        file.by_ref().take(most).read_until(b'\n', &mut line).map_err(cannot)?;
        let header = Header::parse(&line).map_err(|error| broken(name, error))?;
        Ok(Self { name, header, file })
    }

    /// The key that opens it: the one in `key_file`, or the one that it replaced.
    pub(super) fn root_key(&self, key_file: &Path) -> Result<RootKey, Failure> {
        let given = root_key::read(key_file)?;
        if given.name() == self.header.root_key {
            return Ok(given);
        }
        let previous = root_key::beside(key_file, "previous");
        let opens = root_key::read(&previous).is_ok_and(|key| key.name() == self.header.root_key);
        let (detail, hint) = if opens {
            let previous = previous.display();
            (
                format!("it was made under the key before: `{previous}`"),
                format!("give that one: --root-key {previous}"),
            )
        } else {
            let name = self.header.root_key_hex();
            (
                format!(
                    "it was made under the root key {name}, and neither `{}` nor the one \
                         beside it is that",
                    key_file.display()
                ),
                "find the root key of the day on which the backup was made".to_owned(),
            )
        };
        let title = format!("the root key does not open `{}`", self.name.display());
        Err(Failure::new(Exit::VerificationFailed, "backup", &title, &detail, &hint))
    }

    /// Writes the store into `to` and returns what the backup says that it holds. What was written
    /// is to be trusted only where this succeeds.
    pub(super) fn extract(mut self, root: &RootKey, to: &mut File) -> Result<Manifest, Failure> {
        let name = self.name;
        let cannot = |error: io::Error| unread(name, &error);
        let bad = |error: BackupError| broken(name, error);
        let mut opener = Opener::new(&root.backup_key(&self.header.salt), &self.header);
        let mut line = Vec::new();
        let (mut manifest, mut bytes) = (None, 0u64);
        while let Some((place, sealed)) = self.frame()? {
            let plain = opener.open(place, &sealed).map_err(bad)?;
            let mut rest = plain.as_slice();
            if manifest.is_none() {
                let end = rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
                let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
                line.extend_from_slice(head);
                if line.len() > MANIFEST_BYTES_MAX {
                    return Err(bad(BackupError::Manifest));
                }
                if end.is_some() {
                    manifest = Some(Manifest::parse(&line).map_err(bad)?);
                }
                rest = tail;
            }
            bytes += rest.len() as u64;
            to.write_all(rest).map_err(cannot)?;
        }
        opener.finish().map_err(bad)?;
        let manifest = manifest.filter(|manifest| manifest.bytes == bytes);
        to.sync_all().map_err(cannot)?;
        manifest.ok_or_else(|| bad(BackupError::Manifest))
    }

    /// The next frame; nothing at the end of the file.
    fn frame(&mut self) -> Result<Option<(Place, Vec<u8>)>, Failure> {
        let mut head = Vec::with_capacity(FRAME_HEAD_LEN);
        let cannot = |error: io::Error| unread(self.name, &error);
        self.file.by_ref().take(FRAME_HEAD_LEN as u64).read_to_end(&mut head).map_err(cannot)?;
        if head.is_empty() {
            return Ok(None);
        }
        let cut_off = || broken(self.name, BackupError::CutOff);
        let head = head.try_into().map_err(|_| cut_off())?;
        let (place, length) = frame_head(head).map_err(|error| broken(self.name, error))?;
        let mut sealed = Vec::with_capacity(length);
        self.file.by_ref().take(length as u64).read_to_end(&mut sealed).map_err(cannot)?;
        if sealed.len() == length { Ok(Some((place, sealed))) } else { Err(cut_off()) }
    }
}

fn unread(name: &Path, error: &io::Error) -> Failure {
    let title = format!("the backup `{}` could not be read", name.display());
    Failure::file(&title, error, "check the path, the disk and its free space")
}

/// The file is not a whole backup.
fn broken(name: &Path, error: BackupError) -> Failure {
    let title = format!("`{}` is not a whole backup", name.display());
    let hint = "use another copy of it, or another backup";
    Failure::new(Exit::VerificationFailed, "backup", &title, &error.to_string(), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    #[test]
    fn stores_of_every_length_come_back_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = RootKey::new([7; 32]);
        let mut manifest = Manifest {
            created_at: 1,
            program: "1".to_owned(),
            schema: 1,
            public_url: "http://x".to_owned(),
            bytes: 0,
            organizations: Vec::new(),
        };
        let line = manifest.to_line().expect("a line").len();
        // The digits of the length are part of the line: all of these have as many.
        let line = line + 6;
        for length in [2 * CHUNK_BYTES - line - 1, 2 * CHUNK_BYTES - line, 3 * CHUNK_BYTES + 5] {
            let content: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
            let mut store = tempfile::tempfile().expect("a file");
            store.write_all(&content).expect("written");
            store.rewind().expect("back");
            manifest.bytes = length as u64;
            let name = folder.path().join(length.to_string());
            write(&name, &root, &manifest, &mut store).expect("a backup");
            let mut out = tempfile::tempfile().expect("a file");
            let backup = Backup::open(&name).expect("opened");
            assert_eq!(backup.extract(&root, &mut out).expect("whole"), manifest);
            out.rewind().expect("back");
            let mut back = Vec::new();
            out.read_to_end(&mut back).expect("read");
            assert!(back == content, "{length}");

            let last = std::fs::metadata(&name).expect("a file").len() - 40;
            let file = File::options().write(true).open(&name).expect("opened");
            file.set_len(last).expect("cut");
            let failure = Backup::open(&name).expect("opened").extract(&root, &mut out);
            assert_eq!(failure.expect_err("cut off").exit, Exit::VerificationFailed);
        }
    }
}
