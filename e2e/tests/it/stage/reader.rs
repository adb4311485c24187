//! Somebody who does what a document says: its commands are typed into a shell one by one, and what
//! it says they print is looked for. So that a document which is wrong fails.
//!
//! What is read, and all that is known of it:
//!
//! - A block marked `sh` has commands, one a line (`\` continues it). Each must end with 0, or with
//!   the number in its trailing comment `# exits with 6`.
//! - A block marked `text` has lines which the block before it printed. `…` in it is anything, and
//!   blanks are alike however many.
//! - `ins_…` in a command is the last id printed so far that begins so; `acr_agent_…` the last
//!   secret. Of several in one answer it is the first.
//! - `127.0.0.1:8420` is wherever the server listens here: many run side by side.
//! - `accredit dev` and `accredit serve …` go on while later commands run, as in another terminal;
//!   what `accredit dev` prints is taken into that terminal, as documents say to. A comment
//!   `# Ctrl-C` ends `accredit serve`.
//! - `export` and `umask` hold for all later commands.
//! - Where there is no `curl` or no `openssl`, its commands are left out, and that is said.
//!
//! A block marked `toml` has settings, which a test of its own serves with. Blocks marked `rust` are
//! compiled by the library's tests, and `python` is run by `interop/guide.py`. There are no others:
//! of another language nobody would know that it does not work.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::binary::{self, Ran};
use super::cast::text;
use super::server::{Folder, free_port};
use super::{Ask, Server, until};

/// The address that documents name: the default one.
const ADDRESS: &str = "127.0.0.1:8420";

/// Programs that a document may use beside ours: those of POSIX, [`NOT_EVERYWHERE`], and one without which
/// its chapter is not read.
const PROGRAMS: [&str; 9] =
    ["cat", "cp", "curl", "mkdir", "openssl", "printf", "sed", "softhsm2-util", "tail"];

/// Those that are not on every machine with a shell.
const NOT_EVERYWHERE: [&str; 2] = ["curl", "openssl"];

/// What ends a server in the foreground.
const CTRL_C: &str = "# Ctrl-C";

/// How long a server may take to say that it serves: long, for a machine with other work.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A block of a document that a reader does something with.
#[derive(Debug)]
pub(crate) enum Block {
    /// To be typed.
    Commands(Vec<String>),
    /// To be seen.
    Output(Vec<String>),
    /// To be written into the configuration.
    Settings(Vec<String>),
}

/// The blocks of a document in Markdown, in their order. Continued lines are joined.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for line in document.replace("\\\n", " ").lines() {
        match (line.trim().strip_prefix("```"), open.take()) {
            (Some(""), Some(block)) => blocks.extend(block),
            (Some(kind), None) => {
                open = Some(match kind {
                    "sh" => Some(Block::Commands(Vec::new())),
                    "text" => Some(Block::Output(Vec::new())),
                    "toml" => Some(Block::Settings(Vec::new())),
                    "rust" | "python" => None,
                    _ => panic!("nobody runs a block marked `{kind}`"),
                });
            }
            (None, Some(mut block)) => {
                if let Some(Block::Commands(lines) | Block::Output(lines) | Block::Settings(lines)) =
                    &mut block
                    && !line.trim().is_empty()
                {
                    lines.push(line.trim().to_owned());
                }
                open = Some(block);
            }
            (None, None) => {}
            (Some(_), Some(_)) => panic!("a block in a block: {line}"),
        }
    }
    assert!(open.is_none(), "a block that does not end");
    blocks
}

/// Somebody at a terminal, in a folder of their own.
pub(crate) struct Reader {
    folder: Folder,
    address: SocketAddr,
    /// What holds for all later commands, a line each.
    shell: String,
    /// The ids and secrets that were printed, by their beginnings.
    seen: BTreeMap<String, String>,
    /// What the commands of this block have printed.
    printed: String,
    /// Whether a command of this block was not run, for want of its program.
    is_partial: bool,
    /// `accredit dev`.
    server: Option<Server>,
    /// `accredit serve`.
    installation: Option<Installation>,
}

/// An `accredit serve` that ends when nobody reads on.
struct Installation(Child);

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            folder: Folder::new(),
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
            shell: String::new(),
            seen: BTreeMap::new(),
            printed: String::new(),
            is_partial: false,
            server: None,
            installation: None,
        }
    }

    /// The server of `accredit dev`, which has been started.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("`accredit dev` comes first")
    }

    /// Reads a document to its end.
    pub(crate) async fn follow(&mut self, document: &str) {
        for block in blocks(document) {
            match block {
                Block::Commands(lines) => {
                    (self.printed, self.is_partial) = (String::new(), false);
                    for line in &lines {
                        self.type_in(line).await;
                    }
                }
                Block::Output(lines) => lines.iter().for_each(|line| self.expect_printed(line)),
                Block::Settings(_) => {}
            }
        }
    }

    /// Does one line of a block marked `sh`.
    pub(crate) async fn type_in(&mut self, line: &str) {
        let line = self.filled(line);
        // `NAME=value program …` sets it for this one.
        match line.split(' ').find(|word| !word.contains('=')) {
            _ if line == CTRL_C => self.interrupt(),
            _ if line == "accredit dev" => self.start_dev().await,
            Some("accredit") if line.starts_with("accredit serve ") => self.serve(&line).await,
            Some("accredit") => self.run(&line),
            Some("export" | "umask") => self.keep(&line),
            Some(program) if PROGRAMS.contains(&program) => {
                let is_used = |name: &&str| line.contains(&format!("{name} "));
                let missing =
                    NOT_EVERYWHERE.into_iter().filter(is_used).find(|name| !is_there(name));
                if let Some(name) = missing {
                    assert!(!binary::in_ci(), "CI runs every command of the guide: install {name}");
                    eprintln!("there is no {name}, so this is not run: {line}");
                    self.is_partial = true;
                } else {
                    self.run(&line);
                }
            }
            _ => panic!("it is not known how to do `{line}`"),
        }
    }

    /// Takes a line into the shell for good.
    pub(crate) fn keep(&mut self, line: &str) {
        self.shell.push_str(line);
        self.shell.push('\n');
    }

    /// The id or secret that was printed last and begins so.
    pub(crate) fn known(&self, beginning: &str) -> &str {
        self.seen.get(beginning).unwrap_or_else(|| panic!("nobody knows what `{beginning}…` is"))
    }

    /// Takes ids and secrets for known that were printed.
    pub(crate) fn learn(&mut self, printed: &str) {
        let words =
            printed.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        // Backwards: of several in one answer the first holds.
        for word in words.collect::<Vec<_>>().into_iter().rev() {
            let Some((kind, rest)) = word.split_once('_') else { continue };
            match rest.split_once('_') {
                None if kind.len() == 3 && rest.len() == 26 => {
                    self.seen.insert(format!("{kind}_"), word.to_owned());
                }
                Some((holder, _)) if kind == "acr" => {
                    self.seen.insert(format!("acr_{holder}_"), word.to_owned());
                }
                _ => {}
            }
        }
    }

    /// A line with what stands in it for the server's address, for ids and for secrets.
    fn filled(&self, line: &str) -> String {
        let line = line.replace(ADDRESS, &self.address.to_string());
        let mut parts: Vec<&str> = line.split('…').collect();
        let last = parts.pop().unwrap_or_default();
        let mut filled = String::new();
        for part in parts {
            let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let before = part.trim_end_matches(is_of_word);
            let beginning = part.strip_prefix(before).unwrap_or_default();
            filled.push_str(before);
            filled.push_str(self.known(beginning));
        }
        filled + last
    }

    fn expect_printed(&self, line: &str) {
        let line = line.replace(ADDRESS, &self.address.to_string());
        let is_there = self.printed.lines().any(|printed| shows(printed, &line));
        assert!(is_there || self.is_partial, "nothing printed\n{line}\nbut\n{}", self.printed);
    }

    fn run(&mut self, line: &str) {
        let code = line.rsplit_once("# exits with ").map_or(0, |(_, code)| {
            code.trim().parse().unwrap_or_else(|_| panic!("which code? {line}"))
        });
        let Ran { code: ended, out, err } = binary::run(self.command(line));
        assert_eq!(ended, code, "`{line}`:\n{out}{err}");
        let printed = out + &err;
        self.learn(&printed);
        self.printed.push_str(&printed);
    }

    fn command(&self, line: &str) -> Command {
        let programs = binary::accredit().parent().expect("its folder");
        let mut command = Command::new("/bin/sh");
        command.arg("-euc").arg(format!("{}{line}", self.shell)).env_clear().stdin(Stdio::null());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        command.env("HOME", "/nonexistent").current_dir(self.folder.path());
        command
    }

    async fn start_dev(&mut self) {
        let server = Server::dev().await;
        let lines =
            format!("export ACCREDIT_URL={}\nexport ACCREDIT_TOKEN={}\n", server.url, server.admin);
        self.address = server.address;
        self.shell.push_str(&lines);
        self.printed.push_str(&lines);
        self.server = Some(server);
    }

    async fn serve(&mut self, line: &str) {
        let file = self.folder.file("served");
        let mut command = self.command(&format!("exec {line}"));
        command.stdout(Stdio::null()).stderr(File::create(&file).expect("a log"));
        self.installation = Some(Installation(command.spawn().expect("it starts")));
        until("it serves", START_TIME_MAX, async || {
            let log = std::fs::read_to_string(&file).expect("its log");
            let mut lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            let serving = lines.find(|line: &Value| line["message"] == "serving");
            if let Some(line) = &serving {
                self.address = text(line, "address").parse().expect("an address");
            }
            serving.is_some()
        })
        .await;
        self.printed.push_str(&std::fs::read_to_string(&file).expect("its log"));
    }

    fn interrupt(&mut self) {
        let mut ended = self.installation.take().expect("something to be ended");
        let id = ended.0.id().to_string();
        let told = Command::new("kill").args(["-INT", &id]).status().expect("kill runs");
        assert!(told.success());
        assert_eq!(ended.0.wait().expect("ended").code(), Some(0));
    }

    /// Whether the server that was started last is well.
    pub(crate) async fn is_served(&self) -> bool {
        assert!(self.server.is_some() || self.installation.is_some(), "nothing was started");
        // Who speaks TLS is asked by our own client, which knows what to trust.
        if self.shell.contains("ACCREDIT_URL=https:") {
            return binary::run(self.command("accredit org list")).code == 0;
        }
        Ask::get("/readyz").send(self.address).await.status == 200
    }
}

/// Whether a line is as expected, where `…` is anything and blanks are alike.
fn shows(line: &str, expected: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, expected) = (words(line), words(expected));
    let Some((first, rest)) = expected.split_once('…') else { return line == expected };
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = line.split_once(part) else { return false };
        line = behind;
    }
    line.ends_with(last)
}

fn is_there(program: &str) -> bool {
    ["/usr/bin", "/bin"].iter().any(|folder| std::path::Path::new(folder).join(program).exists())
}
