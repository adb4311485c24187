//! Steps and child processes: how a task reports, and how it starts other programs.
//!
//! A failed step does not stop the ones after it: one run tells everything that is wrong.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::ambient::{self, Stopwatch};

/// Whether a generated file is written or compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write the file.
    Write,
    /// Fail where the file differs from what would be written.
    Check,
}

/// How a step ended that did not fail.
pub(crate) enum Outcome {
    /// It ran.
    Done,
    /// It could not run here, for this reason.
    Skipped(String),
}

/// The steps of one run and what became of them.
pub(crate) struct Report {
    clock: Stopwatch,
    steps: usize,
    skipped: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    /// An empty report; its clock starts.
    pub(crate) fn new() -> Self {
        Self { clock: Stopwatch::start(), steps: 0, skipped: Vec::new(), failed: Vec::new() }
    }

    /// Runs one step and prints its name, result and duration.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> crate::Answer) {
        println!("== {name}");
        let clock = Stopwatch::start();
        let answer = work();
        let seconds = clock.elapsed().as_secs_f64();
        self.steps += 1;
        match answer {
            Ok(Outcome::Done) => println!("== {name}: ok ({seconds:.1} s)"),
            Ok(Outcome::Skipped(why)) => {
                println!("== {name}: SKIPPED, {why} ({seconds:.1} s)");
                self.skipped.push(name.to_owned());
            }
            Err(why) => {
                println!("{}\n== {name}: FAILED ({seconds:.1} s)", why.trim_end());
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Prints the total and turns the report into the exit code.
    pub(crate) fn finish(self) -> ExitCode {
        let seconds = self.clock.elapsed().as_secs_f64();
        let passed = self.steps - self.skipped.len() - self.failed.len();
        for (what, names) in [("skipped", &self.skipped), ("failed", &self.failed)] {
            if !names.is_empty() {
                println!("== {what}: {}", names.join(", "));
            }
        }
        println!("== total: {passed} of {} steps ok ({seconds:.1} s)", self.steps);
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A program to be started in the repository's root.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(ambient::root()).stdin(Stdio::null());
    command
}

/// Cargo with these arguments, in the repository's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = command(ambient::cargo());
    command.args(args);
    command
}

/// Runs a program with its output shown; fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> crate::Answer {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(Outcome::Done) } else { Err(ended_badly(command, status)) }
}

/// Runs a program and returns its standard output as text; fails unless it exits with 0.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        return Err(ended_badly(command, output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{} printed no UTF-8", name(command)))
}

/// Whether `program --version` can be run here.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut probe = command(program);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// What to answer where a tool is absent: a failure in a pipeline, else a skipped step.
pub(crate) fn missing(tool: &str) -> crate::Answer {
    if ambient::in_ci() {
        Err(format!("{tool} is not installed, and CI runs every step"))
    } else {
        Ok(Outcome::Skipped(format!("{tool} is not installed")))
    }
}

/// Writes `text` to `path` below the root, or compares, naming the task that writes it.
pub(crate) fn generated(path: &str, text: &str, task: &str, mode: Mode) -> crate::Answer {
    let file = ambient::root().join(path);
    if mode == Mode::Write {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{path}: {error}"))?;
        }
        std::fs::write(&file, text).map_err(|error| format!("{path}: {error}"))?;
        return Ok(Outcome::Done);
    }
    let kept = std::fs::read_to_string(&file).map_err(|error| format!("{path}: {error}"))?;
    let Some(line) = first_difference(&kept, text) else { return Ok(Outcome::Done) };
    Err(format!("{path} is out of date from line {line}; run `cargo xtask {task}` and commit it"))
}

/// The paths below the root of every file with this extension, sorted, `/` between their parts.
///
/// Folders of built or fetched things are not entered.
pub(crate) fn files(extension: &str) -> Result<Vec<String>, String> {
    let root = ambient::root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let below = path.strip_prefix(&root).unwrap_or(&path);
                found.push(below.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The number of the first line, from 1, in which two texts differ.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    if left == right {
        return None;
    }
    let same = left.lines().zip(right.lines()).take_while(|(l, r)| l == r).count();
    Some(same + 1)
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("{} cannot be started: {error}", name(command))
}

fn ended_badly(command: &Command, status: std::process::ExitStatus) -> String {
    format!("{} ended with {status}", name(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_line_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }

    #[test]
    fn a_program_that_fails_fails_the_step() {
        assert!(run(&mut command("false")).is_err());
        assert!(run(&mut command("true")).is_ok());
        assert!(run(&mut command("no-such-program-here")).is_err());
        assert!(output(&mut command("false")).is_err());
    }

    #[test]
    fn a_report_with_a_failed_step_is_a_failure() {
        let mut report = Report::new();
        report.step("good", || Ok(Outcome::Done));
        report.step("bad", || Err("why".to_owned()));
        report.step("after", || Ok(Outcome::Done));
        assert_eq!(report.steps, 3);
        assert_eq!(report.failed, ["bad"]);
        assert_eq!(format!("{:?}", report.finish()), format!("{:?}", ExitCode::FAILURE));
    }
}
