//! `accredit completions` and `accredit man`: what shells and man(1) want to know of this program,
//! made from the same description that reads the command line.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man as Manual;

use crate::args::Cli;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output;

/// A shell that completions can be written for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// Arguments of `accredit completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    accredit completions bash > ~/.local/share/bash-completion/completions/accredit\n  \
    accredit completions zsh > \"${fpath[1]}/_accredit\"\n  \
    accredit completions fish > ~/.config/fish/completions/accredit.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: For,
}

/// Arguments of `accredit man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  accredit man | man -l -\n  \
    accredit man --dir ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for every command into this folder, instead of one to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a shell's completions.
pub(crate) fn completions(args: &Completions) -> Result<(), Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
        For::Powershell => Shell::PowerShell,
    };
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "accredit", &mut text);
    print(&text)
}

/// Prints the manual page, or writes all of them.
pub(crate) fn man(args: &Man, cx: &Context) -> Result<(), Failure> {
    let command = Cli::command().after_help(Exit::help());
    let Some(dir) = &args.dir else {
        let mut text = Vec::new();
        Manual::new(command).render(&mut text).map_err(|error| output::data_failure(&error))?;
        return print(&text);
    };
    let pages = write_pages(command, dir).map_err(|error| {
        let what = format!("the pages could not be written to `{}`", dir.display());
        Failure::file(&what, &error, "check that the folder may be written to")
    })?;
    cx.out.say(&format!("{pages} pages in {}", dir.display()));
    Ok(())
}

fn write_pages(command: clap::Command, dir: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)?;
    let pages = std::fs::read_dir(dir)?.flatten();
    Ok(pages.filter(|page| page.file_name().to_string_lossy().starts_with("accredit")).count())
}

fn print(text: &[u8]) -> Result<(), Failure> {
    output::line(String::from_utf8_lossy(text).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_completions_that_know_the_nouns() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut text = Vec::new();
            generate(shell, &mut Cli::command(), "accredit", &mut text);
            let text = String::from_utf8(text).expect("text");
            for word in ["accredit", "agent", "credential", "doctor", "metrics-listen"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_gets_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let pages = write_pages(Cli::command(), folder.path()).expect("pages");
        assert!(pages > 40, "{pages}");
        let page = std::fs::read_to_string(folder.path().join("accredit-agent-create.1"));
        let page = page.expect("a page of a verb");
        assert!(page.contains("Register an agent") && page.contains("owner"), "{page}");
    }
}
