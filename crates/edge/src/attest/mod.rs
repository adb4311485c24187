//! SPIFFE Workload Endpoint section 3: attestation, what the kernel says of the process that asks.
//!
//! An attestor is one file here. Each tells what it can vouch for as [`Selector`]s, and leaves out what it
//! cannot: what is not told matches no rule. The names and what their values look like are one list for
//! this daemon and the server (`accredit_wire::selectors`). The rules are the server's. A process of which something is
//! said twice, and not the same, is refused as a whole.
//!
//! Absent on purpose: whatever a process says of itself (its arguments, environment, name), names of users
//! and groups (they are whatever a directory says today), and anything asked of another daemon.

mod cgroup;
mod container;
mod executable;
mod proc_folder;
mod systemd;
mod unix;

use std::collections::BTreeMap;
use std::fmt;

pub use accredit_wire::selectors::{Selector, Selectors};
pub use cgroup::{Cgroup, membership};
pub use container::{Container, Containers};
pub use executable::Executable;
pub use proc_folder::{FileId, ProcFolder};
pub use systemd::{Systemd, unit};
pub use unix::{Credentials, Unix};

/// Why nothing at all is told of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattested {
    /// It is over.
    Gone,
    /// It has more than one user or group at once, or another than when it connected.
    TwoUsers,
    /// It began to execute another file while it was looked at.
    Changed,
}

impl fmt::Display for Unattested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the process is over",
            Self::TwoUsers => "the process has more than one user or group at once",
            Self::Changed => "the process began another program while it was looked at",
        })
    }
}

impl std::error::Error for Unattested {}

/// What was told of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told(BTreeMap<Selector, String>);

impl Told {
    /// One of them.
    pub fn get(&self, selector: Selector) -> Option<&str> {
        self.0.get(&selector).map(String::as_str)
    }

    /// Which there are.
    pub fn names(&self) -> impl Iterator<Item = Selector> + '_ {
        self.0.keys().copied()
    }

    /// Tells one. What has not the form of that selector is left out, as a rule could not name it.
    pub fn tell(&mut self, selector: Selector, value: impl Into<String>) {
        let value = value.into();
        if Selectors::new([(selector.as_str(), &*value)]).is_ok() {
            self.0.insert(selector, value);
        }
    }

    /// As they travel; nothing where there are none.
    pub fn selectors(&self) -> Option<Selectors> {
        let pairs = self.0.iter().map(|(selector, value)| (selector.as_str(), value.as_str()));
        Selectors::new(pairs).ok()
    }
}

/// Tells of processes what one part of the kernel says of them.
pub trait Attestor: Send + Sync + 'static {
    /// What it tells, where it can; nothing else.
    fn selectors(&self) -> &'static [Selector];

    /// Tells what it can vouch for of this process. May wait for a file.
    fn attest(&self, process: &ProcFolder, told: &mut Told) -> Result<(), Unattested>;
}

/// Every attestor, once.
pub fn all() -> Vec<Box<dyn Attestor>> {
    vec![
        Box::new(Unix),
        Box::new(Executable::default()),
        Box::new(Systemd),
        Box::new(Containers),
        Box::new(Cgroup),
    ]
}

/// What all attestors together tell of a process.
pub fn attest(attestors: &[Box<dyn Attestor>], process: &ProcFolder) -> Result<Told, Unattested> {
    let before = process.executable();
    let mut told = Told::default();
    for attestor in attestors {
        attestor.attest(process, &mut told)?;
    }
    // A process keeps its id and its start when it begins another program.
    if process.executable() != before {
        return Err(Unattested::Changed);
    }
    Ok(told)
}
