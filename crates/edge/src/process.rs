//! proc(5): what the kernel says of a process.
//!
//! A process id alone says nothing for long: it is given to another process when this one is over. With
//! the time at which the process began it names one for good.

use std::fmt;
use std::path::PathBuf;

/// The longest file of the kernel's that is read here, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How many processes stand between one and its ancestor, at most.
pub const ANCESTORS_MAX: usize = 256;

/// What `/proc/<pid>/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its id.
    pub pid: i32,
    /// Whose child it is.
    pub parent: i32,
    /// When it began, clock ticks after the machine did.
    pub started: u64,
}

/// What the kernel says is not understood, or there is no such process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProcess;

impl fmt::Display for NoProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such process, or not any more")
    }
}

impl std::error::Error for NoProcess {}

impl Stat {
    /// Reads `/proc/<pid>/stat`. The name of a program stands in it as the program chose it, with
    /// parentheses and blanks; no field behind it has any.
    pub fn parse(text: &str) -> Result<Self, NoProcess> {
        let (pid, rest) = text.split_once(" (").ok_or(NoProcess)?;
        let (_, rest) = rest.rsplit_once(") ").ok_or(NoProcess)?;
        // The state is field 3, the parent field 4, the start field 22.
        let mut fields = rest.trim_end().split(' ');
        let parent = fields.nth(1).ok_or(NoProcess)?;
        let started = fields.nth(17).ok_or(NoProcess)?;
        Ok(Self { pid: number(pid)?, parent: number(parent)?, started: number(started)? })
    }

    /// That of a process which runs now.
    pub fn of(pid: i32) -> Result<Self, NoProcess> {
        let stat = Self::parse(&read(pid, "stat")?)?;
        if stat.pid == pid { Ok(stat) } else { Err(NoProcess) }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, NoProcess> {
    let is_plain = text
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte.is_ascii_digit() || at == 0 && byte == b'-' && text.len() > 1);
    if is_plain { text.parse().map_err(|_| NoProcess) } else { Err(NoProcess) }
}

fn read(pid: i32, name: &str) -> Result<String, NoProcess> {
    use std::io::Read as _;
    let file = std::fs::File::open(path(pid, name)).map_err(|_| NoProcess)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| NoProcess)?;
    Ok(text)
}

fn path(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// Whether a process is `ancestor` or descends from it, as the kernel has it now.
pub fn descends(pid: i32, ancestor: i32) -> bool {
    descends_by(pid, ancestor, |pid| Stat::of(pid).ok())
}

fn descends_by(pid: i32, ancestor: i32, stat: impl Fn(i32) -> Option<Stat>) -> bool {
    let mut at = pid;
    for _ in 0..ANCESTORS_MAX {
        if at == ancestor {
            return true;
        }
        match stat(at) {
            Some(stat) if stat.parent > 0 && stat.parent != at => at = stat.parent,
            _ => return false,
        }
    }
    false
}

/// A process for good: its id and when it began, ticks after the machine did.
pub type ProcessKey = (i32, u64);

/// Whose child a process is, and so on up, the nearest first; as the kernel has it now. A parent began no
/// later than its child: what did is another process that has the id of one that is over.
pub fn ancestors(pid: i32) -> Vec<ProcessKey> {
    ancestors_by(pid, |pid| Stat::of(pid).ok())
}

fn ancestors_by(pid: i32, stat: impl Fn(i32) -> Option<Stat>) -> Vec<ProcessKey> {
    let mut found = Vec::new();
    let Some(mut at) = stat(pid) else { return found };
    while found.len() < ANCESTORS_MAX && at.parent > 0 && at.parent != at.pid {
        match stat(at.parent) {
            Some(parent) if parent.started <= at.started => at = parent,
            _ => break,
        }
        found.push((at.pid, at.started));
    }
    found
}

/// The name of this start of the machine, as the kernel drew it: ids of processes mean others after the
/// next.
pub fn boot() -> Result<String, NoProcess> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let text = text.map_err(|_| NoProcess)?;
    let is_plain = |byte: u8| byte == b'-' || byte.is_ascii_hexdigit();
    let id = text.trim_end();
    if id.len() == 36 && id.bytes().all(is_plain) { Ok(id.to_owned()) } else { Err(NoProcess) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REST: &str = "S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";

    #[test]
    fn a_program_says_nothing_of_itself_by_its_name() {
        for name in ["python3", "a) S 1 (b", ") S 1 1 1", "(", "", "x y"] {
            let stat = Stat::parse(&format!("42 ({name}) {REST}\n")).expect(name);
            assert_eq!(stat, Stat { pid: 42, parent: 41, started: 98765 }, "{name}");
        }
    }

    #[test]
    fn what_is_not_as_the_kernel_writes_it_is_no_process() {
        for wrong in [
            "",
            "42",
            "42 (x",
            "42 (x) S",
            "42 (x) S 41 42",
            "+42 (x) S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765",
            "42 (x) S forty 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765",
            "42 (x) S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 -5",
        ] {
            assert_eq!(Stat::parse(wrong), Err(NoProcess), "{wrong}");
        }
    }

    #[test]
    fn whoever_asks_descends_from_itself_and_its_parent_does_not_from_it() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let parent = Stat::of(own).expect("this process").parent;
        assert!(descends(own, own) && descends(own, parent));
        assert!(!descends(parent, own));
        assert!(!descends(0, own) && !descends(-1, own));
    }

    #[test]
    fn a_chain_without_end_is_no_descent() {
        let circle = |pid: i32| Some(Stat { pid, parent: pid % 7 + 1, started: 0 });
        assert!(!descends_by(3, 100, circle));
        let long = |pid: i32| Some(Stat { pid, parent: pid - 1, started: 0 });
        assert!(descends_by(255, 1, long));
        assert!(!descends_by(1000, 1, long));
    }

    #[test]
    fn ancestors_began_before_and_one_that_did_not_is_none() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let parent = Stat::of(own).expect("this process").parent;
        let found = ancestors(own);
        assert_eq!(found.first().map(|(pid, _)| *pid), Some(parent));
        assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        let started = |pid| Some(Stat { pid, parent: pid - 1, started: 10 - u64::from(pid == 7) });
        assert_eq!(ancestors_by(8, started).len(), 1, "6 began after 7");
        let circle = |pid: i32| Some(Stat { pid, parent: pid % 7 + 1, started: 0 });
        assert_eq!(ancestors_by(3, circle).len(), ANCESTORS_MAX);
        assert!(ancestors_by(1, |_| None).is_empty());
        assert!(boot().is_ok_and(|boot| Ok(boot) == super::boot()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Stat::parse(&text);
        }
    }
}
