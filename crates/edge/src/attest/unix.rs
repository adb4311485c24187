//! unix(7), credentials(7): user and group of a process.
//!
//! They are the kernel's word on the connection, and told only where the process is of that user and group
//! in every respect (real, effective, saved, for files): one that is of two users is steered by one of
//! them and has the rights of the other, and is refused.

use super::{Attestor, ProcFolder, Selector, Told, Unattested};

/// User and group.
#[derive(Debug)]
pub struct Unix;

impl Attestor for Unix {
    fn selectors(&self) -> &'static [Selector] {
        &[Selector::Uid, Selector::Gid]
    }

    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested> {
        let status = process.text("status").ok_or(Unattested::Gone)?;
        let now = Credentials::parse(&status).ok_or(Unattested::TwoUsers)?;
        if now != (Credentials { uid: process.uid, gid: process.gid }) {
            return Err(Unattested::TwoUsers);
        }
        told.tell(Selector::Uid, process.uid.to_string());
        told.tell(Selector::Gid, process.gid.to_string());
        Ok(())
    }
}

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Credentials {
    /// Reads `/proc/<pid>/status`; nothing where it is of more than one user or group.
    pub fn parse(status: &str) -> Option<Self> {
        Some(Self { uid: only(status, "Uid:\t")?, gid: only(status, "Gid:\t")? })
    }
}

/// The one number that stands four times in the one line that begins so. What a program calls itself
/// stands in a line of its own, in which the kernel lets no line end.
fn only(status: &str, name: &str) -> Option<u32> {
    let mut lines = status.split('\n').filter_map(|line| line.strip_prefix(name));
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let mut ids = line.split('\t');
    let first = number(ids.next()?)?;
    let others = [ids.next()?, ids.next()?, ids.next()?];
    let are_same = others.into_iter().all(|id| number(id) == Some(first));
    (are_same && ids.next().is_none()).then_some(first)
}

fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain)?;
    // What has no user here is told as the overflow id or as this one.
    (number != u32::MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_process_is_of_one_user_and_one_group() {
        let status = "Name:\tx\nUmask:\t0022\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t1 2 \n";
        assert_eq!(Credentials::parse(status), Some(Credentials { uid: 7, gid: 8 }));
        for (from, to) in [
            ("Uid:\t7\t7", "Uid:\t7\t0"),
            ("7\t7\t7\t7", "7\t7\t0\t7"),
            ("7\t7\t7\t7", "7\t7\t7"),
            ("7\t7\t7\t7", "7\t7\t7\t7\t7"),
            ("7\t7\t7\t7", "07x\t7\t7\t7"),
            ("7\t7\t7\t7", "+7\t7\t7\t7"),
            ("8\t8\t8\t8", "8\t8\t8\t9"),
            ("Gid:", "gid:"),
            ("Umask:\t0022", "Uid:\t0\t0\t0\t0"),
            ("7\t7\t7\t7", "4294967295\t4294967295\t4294967295\t4294967295"),
        ] {
            assert_eq!(Credentials::parse(&status.replacen(from, to, 1)), None, "{to}");
        }
        // A name cannot become a line of its own.
        let named = status.replace("Name:\tx", "Name:\tUid:\\t0");
        assert_eq!(Credentials::parse(&named), Some(Credentials { uid: 7, gid: 8 }));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[Uid:Gd0-9\t\n ]{0,80}") {
            let _ = Credentials::parse(&text);
        }
    }
}
