//! The command as a process: started, told what this one is told, and waited for.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getuid, kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client_settings::SECRETS;
use crate::errors::Failure;
use crate::exit::Exit;

/// Signals that wait to be passed on, at most.
const SIGNALS_MAX: usize = 16;
/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// A command that was started.
pub(super) struct Started {
    pid: Pid,
    signals: mpsc::Receiver<Signal>,
}

/// Lets orphans below this process stay below it, so that each descendant is known as one.
pub(super) fn take_in_orphans() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpid, set_child_subreaper};
        set_child_subreaper(Some(getpid())).map_err(|error| {
            let hint = "run it where prctl(2) is allowed";
            Failure::file(
                "the system does not let this process keep its children",
                &error.into(),
                hint,
            )
        })
    }
    #[cfg(not(target_os = "linux"))]
    Err(Failure::usage(
        "`accredit run` works on Linux alone",
        "this system does not tell which process asks at a socket",
        "run it in a container",
    ))
}

/// Whose processes they are.
pub(super) fn user() -> u32 {
    getuid().as_raw()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "between two tries of a command that ends")]
pub(super) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

impl Started {
    /// Starts a command with more in its environment, and without what is secret in ours.
    pub(super) fn new(
        command: &[OsString],
        environment: &[(&'static str, OsString)],
    ) -> Result<Self, Failure> {
        // Before it is started, so that nothing is missed.
        let signals = signals()?;
        let (program, arguments) = command.split_first().unwrap_or((&EMPTY, &[]));
        let mut command = Command::new(program);
        command.arg0(program).args(arguments);
        for secret in SECRETS {
            command.env_remove(secret);
        }
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = command.spawn().map_err(|error| {
            let what = format!("`{}` was not started", program.to_string_lossy());
            Failure::file(&what, &error, "check that it is a program that can be run")
        })?;
        let pid = Pid::from_child(&child);
        Ok(Self { pid, signals })
    }

    /// Passes on what this process is told, until the command is over; its exit code, or as a shell gives
    /// that of one that a signal ended.
    pub(super) async fn ended(mut self) -> u8 {
        let pid = self.pid;
        let mut waiting = tokio::task::spawn_blocking(move || wait(pid));
        loop {
            tokio::select! {
                ended = &mut waiting => return ended.unwrap_or(1),
                Some(signal) = self.signals.recv() => {
                    // It may be over by now; then there is nobody to tell.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

static EMPTY: OsString = OsString::new();

/// Waits for the command, and meanwhile for orphans that were taken in, so that none is left undead.
fn wait(child: Pid) -> u8 {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => {
                let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + signal);
                let code = status.exit_status().or(by_signal).unwrap_or(1);
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Exit::Failure.code(),
        }
    }
}

/// What is passed on. What a terminal sends goes to the command by itself, as it is of the same group.
fn signals() -> Result<mpsc::Receiver<Signal>, Failure> {
    use std::io::IsTerminal as _;
    let by_terminal = std::io::stdin().is_terminal();
    let (tell, told) = mpsc::channel(SIGNALS_MAX);
    for (kind, passed, of_terminal) in [
        (SignalKind::interrupt(), Signal::INT, true),
        (SignalKind::quit(), Signal::QUIT, true),
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
    ] {
        let mut heard = signal(kind).map_err(|error| {
            Failure::file("signals cannot be heard", &error, "check the limits of this process")
        })?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                // Heard all the same, so that it does not end this process before the command.
                if !(of_terminal && by_terminal) && tell.send(passed).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(told)
}
