//! prctl(2) PR_SET_DUMPABLE and setrlimit(2) RLIMIT_CORE: the memory of this process is its own.
//!
//! Every command holds a secret: a server its unwrapped keys, a client an administrator's key. So
//! no command leaves a core file, and no other process of the same user attaches to it or reads
//! its memory. Whoever is root on the machine still can; that is said in the threat model.

use crate::errors::Failure;

/// Closes this process's memory to others of its user, and forbids core files, for good.
pub(crate) fn close() -> Result<(), Failure> {
    closed().map_err(|error| {
        Failure::file(
            "the memory of this process could not be closed to others",
            &error,
            "run it \
             where prctl(2) and setrlimit(2) are allowed",
        )
    })
}

fn closed() -> Result<(), std::io::Error> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}
