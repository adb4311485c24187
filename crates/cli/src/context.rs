//! What every command is given: where to print, whom to ask, and the time it started.

use std::time::SystemTime;

use accredit_wire::time::Time;

use crate::api::Api;
use crate::args::GlobalFlags;
use crate::client_settings::{ClientSettings, Surroundings};
use crate::errors::Failure;
use crate::output::Output;

/// The surroundings of one command.
pub(crate) struct Context {
    /// Where it prints.
    pub(crate) out: Output,
    /// The flags that hold for every command.
    pub(crate) flags: GlobalFlags,
    /// What the environment says.
    pub(crate) around: Surroundings,
    /// When it started. Only for what people are told, never for a decision.
    pub(crate) now: Time,
}

impl Context {
    /// The context of a command that starts now.
    #[expect(clippy::disallowed_methods, reason = "the command line's only look at the clock")]
    pub(crate) fn new(flags: GlobalFlags, around: Surroundings, out: Output) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { out, flags, around, now: Time::from_micros(0).plus(since) }
    }

    /// The server that flags, environment and file name. Commands that work offline never ask.
    pub(crate) fn api(&self) -> Result<Api, Failure> {
        Api::new(ClientSettings::resolve(&self.flags, &self.around)?, &self.flags)
    }
}
