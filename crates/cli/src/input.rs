//! What a command reads: small files, standard input, and a person's word at the terminal.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use accredit_wire::secret::Secret;

use crate::errors::Failure;
use crate::secrecy;

/// The largest small file: a secret, a key, a token, a checkpoint.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The text of a small file, or of standard input where the path is `-`.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        format!("`{}`", path.display())
    };
    let read = if path == Path::new("-") {
        bounded(std::io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(bounded)
    };
    read.map_err(|error| {
        Failure::file(
            &format!("{name} could not be read"),
            &error,
            "check the path and its permissions",
        )
    })
}

fn bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(SMALL_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SMALL_FILE_BYTES_MAX {
        let message = format!("it is larger than {SMALL_FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}

/// The secret in a file, or on standard input where the path is `-`: one line.
pub(crate) fn secret(path: &Path) -> Result<Secret, Failure> {
    let whole = zeroize::Zeroizing::new(text(path)?);
    let line = whole.trim();
    if line.is_empty() || line.chars().any(char::is_whitespace) {
        return Err(Failure::usage(
            &format!("`{}` does not hold a secret", path.display()),
            "one line with nothing but the secret is expected",
            "write the secret alone into the file, readable by you only (chmod 600)",
        ));
    }
    Ok(Secret::new(line.to_owned()))
}

/// The secret in a file that nobody but its owner can read, or that the service manager put into the
/// folder of this process's credentials, which is nobody else's.
pub(crate) fn private_secret(path: &Path, credentials: Option<&Path>) -> Result<Secret, Failure> {
    private(path, credentials)?;
    secret(path)
}

/// Refuses such a file that others can read.
pub(crate) fn private(path: &Path, credentials: Option<&Path>) -> Result<(), Failure> {
    let found = std::fs::metadata(path).map_err(|error| {
        let title = format!("`{}` could not be read", path.display());
        Failure::file(&title, &error, "check the path and its permissions")
    })?;
    let is_given = credentials.is_some_and(|folder| path.parent() == Some(folder));
    match secrecy::open_to_others(&found).filter(|_| !is_given) {
        None => Ok(()),
        Some(mode) => Err(Failure::usage(
            &format!("`{}` cannot be used", path.display()),
            &format!("others can read it (mode {mode:o})"),
            &format!("chmod 600 {}", path.display()),
        )),
    }
}

/// Whether a person sits at both ends: questions can be asked and answered.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// One line from the terminal, without its end.
pub(crate) fn line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().take(SMALL_FILE_BYTES_MAX).read_line(&mut line).map_err(|error| {
        Failure::file("the answer could not be read", &error, "use --yes instead")
    })?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").expect("written");
        assert_eq!(secret(&path).expect("a secret").expose(), "s3cret");
        for bad in ["", "\n", "two words", "a\nb\n"] {
            std::fs::write(&path, bad).expect("written");
            assert_eq!(secret(&path).expect_err("refused").exit, Exit::Usage, "{bad:?}");
        }
    }

    #[test]
    fn a_private_secret_is_its_owners_or_the_service_managers() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").expect("written");
        for (mode, is_taken) in [(0o600, true), (0o400, true), (0o440, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(private_secret(&path, None).is_ok(), is_taken, "{mode:o}");
            assert!(private_secret(&path, Some(folder.path())).is_ok());
            let other = private_secret(&path, Some(Path::new("/run/credentials/other")));
            assert_eq!(other.is_ok(), is_taken, "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_is_absent_or_too_large_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large");
        assert_eq!(text(&path).expect_err("absent").exit, Exit::NotFound);
        std::fs::write(&path, vec![b'a'; SMALL_FILE_BYTES_MAX as usize + 1]).expect("written");
        assert!(text(&path).expect_err("too large").detail.contains("larger"));
    }
}
