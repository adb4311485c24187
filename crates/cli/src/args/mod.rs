//! The command line: nouns, flags that hold everywhere, and pieces that several verbs share.
//!
//! Each noun's own verbs stand beside the code that runs them, in `commands/`.

pub(crate) mod lists;
pub(crate) mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use accredit_wire::authority::{Permission, PermissionTextError};
use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::{Map, Value};

use crate::client_settings::Surroundings;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::Output;
use crate::{argv, commands, duration, input};

pub(crate) use lists::{NameList, Paging, Sort, StateList};

/// The most items that `--limit` takes.
pub(crate) const LIST_ITEMS_MAX: u32 = 100_000;

/// Identity, authority and accountability for AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "accredit",
    version,
    styles = STYLES,
    subcommand_required = true,
    arg_required_else_help = true,
    propagate_version = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job from end to end, on this machine, with what was measured
    Demo(commands::demo::Demo),
    /// Start a server for trying, on loopback, with an organization and a key
    Dev(commands::dev::Dev),
    /// Set up an installation: folder, configuration, root key, organization, first key
    Init(commands::init::Init),
    /// Run the server from a configuration file
    Serve(commands::serve::Serve),
    /// Run a command as an instance of an agent, with no secret in its files or environment
    Run(Box<commands::run::Run>),
    /// Nodes: machines that vouch for their processes, so that each is an instance of its own
    Edge(commands::edge::Edge),
    /// The root key, which wraps all others: put a new one in its place
    Root(commands::root::Root),
    /// The authority of its own by which the server speaks TLS: print its roots, let the next one sign
    Tls(commands::tls::Tls),
    /// The key of the installation's operator, outside all organizations
    OperatorKey(commands::operator_key::OperatorKey),
    /// Encrypted backups of the store: make one, check one, restore one
    Backup(commands::backup::Backup),
    /// The store itself: move it to another engine, declare that it has lost something
    Store(commands::store::Store),
    /// A new version: what it would change, and whether nodes may be changed one by one
    Upgrade(commands::upgrade::Upgrade),
    /// Compute the log again and compare it with what was signed
    Fsck(commands::fsck::Fsck),
    /// Check an installation and say what to mend
    Doctor(commands::doctor::Doctor),
    /// A server's configuration: check it, show it
    Config(commands::config::Config),
    /// Print completions for a shell
    Completions(commands::reference::Completions),
    /// Print the manual page, or write one for every command
    Man(commands::reference::Man),
    /// Print the server's OpenAPI document
    #[command(after_help = "Example:\n  accredit openapi > openapi.json")]
    Openapi,
    /// Something of a server, or of files.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// The commands of a client: a noun with its verbs each.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Organizations: tenants, each with its own issuer, keys, registry and log
    #[command(visible_alias = "orgs", aliases = ["organization", "organizations"])]
    Org(commands::org::Org),
    /// Keys of the organization's administrators, each with a role and a purpose
    #[command(visible_alias = "admin-keys")]
    AdminKey(commands::admin_key::AdminKey),
    /// Persons: owners of agents, and users whom agents work for
    #[command(visible_alias = "persons", alias = "people")]
    Person(commands::person::Person),
    /// Federations: external issuers whose word on users, or on workloads, is believed
    #[command(visible_alias = "federations", alias = "fed")]
    Federation(commands::federation::Federation),
    /// Other trust domains: whose workloads the organization's instances may know
    #[command(visible_alias = "trust-domains")]
    TrustDomain(commands::trust_domain::TrustDomain),
    /// Resources: what is protected, with its actions
    #[command(visible_alias = "resources", alias = "res")]
    Resource(commands::resource::Resource),
    /// Agents: registered roles with an owner, a purpose and permissions
    #[command(visible_alias = "agents", alias = "agt")]
    Agent(commands::agent::Agent),
    /// Permissions: what an agent may do at a resource
    #[command(visible_alias = "permissions", alias = "perm")]
    Permission(commands::permission::Permissions),
    /// Instances: single running copies of an agent
    #[command(visible_alias = "instances", alias = "ins")]
    Instance(commands::instance::Instance),
    /// Tasks: units of work that tokens are minted for and end with
    #[command(visible_alias = "tasks", alias = "tsk")]
    Task(commands::task::Task),
    /// Credentials: what agents, instances and resources prove themselves with
    #[command(visible_alias = "credentials", aliases = ["cred", "creds"])]
    Credential(commands::credential::Credential),
    /// Which tokens of a platform make a workload which agent, so that no secret is planted
    Attest(commands::attest::Attest),
    /// End something, whatever it is, and everything that descends from it
    #[command(after_help = commands::revocation::REVOKE_EXAMPLE)]
    Revoke(commands::revocation::Revoke),
    /// End something by its name, and wait until that is enforced everywhere
    #[command(after_help = commands::kill::EXAMPLE)]
    Kill(commands::kill::Kill),
    /// Try a kill on something made for it, and measure who refuses it when
    #[command(after_help = commands::drill::EXAMPLE)]
    Drill(commands::drill::Drill),
    /// Revocations: what has been ended
    #[command(visible_alias = "revocations", alias = "rvk")]
    Revocation(commands::revocation::Revocation),
    /// Signing keys of the organization
    #[command(visible_alias = "signing-keys")]
    SigningKey(commands::signing_key::SigningKey),
    /// The organization's certificate authority: what to trust
    Ca(commands::ca::Ca),
    /// Certificates: X.509-SVIDs of instances
    #[command(visible_alias = "certificates", alias = "cert")]
    Certificate(commands::certificate::Certificate),
    /// Whether a found text is a secret of Accredit, and whose; from standard input
    KeyCheck(commands::key_check::KeyCheck),
    /// The audit log: follow, search, export, verify
    Audit(commands::audit::Audit),
    /// Tokens: get one as an agent would, look into one
    #[command(visible_alias = "tokens")]
    Token(commands::token::Token),
}

/// The command line as clap reads it, refused or answered where it is not a command to run.
pub(crate) fn parse(argv: &[OsString], around: &Surroundings) -> Result<Cli, Exit> {
    let json = argv::wants_json(argv, around.output.as_deref());
    let tell = |failure: &Failure| {
        let flags = GlobalFlags {
            output: if json { Format::Json } else { Format::Table },
            no_color: argv.iter().any(|argument| argument == "--no-color"),
            ..GlobalFlags::default()
        };
        Output::new(&flags, around).fail(failure);
        failure.exit
    };
    argv::refuse_secrets(argv).map_err(|failure| tell(&failure))?;
    let colour = if argv.iter().any(|argument| argument == "--no-color") {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    };
    let command = Cli::command().color(colour).after_help(Exit::help());
    let matches = command.try_get_matches_from(argv);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        if !error.use_stderr() || !json {
            // Help goes to standard output and is no failure; clap prints a mistake with the usage.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
        tell(&misread(&error))
    })
}

/// clap's mistake as a failure: its sentences, and its tip as what to do next.
fn misread(error: &clap::Error) -> Failure {
    let title = "the command line is not understood";
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage(title, "it names no command", "add --help to see what there is");
    }
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let (tips, why): (Vec<&str>, Vec<&str>) =
        said.filter(|line| !line.is_empty()).partition(|line| line.starts_with("tip: "));
    let why = why.join(" ");
    let tip = tips.first().map_or("add --help to see what it takes", |tip| &tip["tip: ".len()..]);
    Failure::usage(title, why.strip_prefix("error: ").unwrap_or(&why), tip)
}

/// Flags that hold for every command, before or after it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalFlags {
    /// The server's address; also `url` in client.toml
    #[arg(long, global = true, env = "ACCREDIT_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A file with the administrator's key (`-`: standard input); else ACCREDIT_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate authorities to trust besides the public ones, PEM
    #[arg(long, global = true, env = "ACCREDIT_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
    /// How data is printed; json is the API's own object
    #[arg(
        long,
        global = true,
        env = "ACCREDIT_OUTPUT",
        value_name = "table|json",
        default_value = "table",
        hide_default_value = true,
        value_parser = format
    )]
    pub(crate) output: Format,
    /// Say nothing but data and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// No colour, as with NO_COLOR
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Show what the verb would end, and change nothing; for verbs that suspend, revoke or end
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Ask nothing, also at a terminal, as where CI is set
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// The API's object, one JSON document.
    Json,
}

/// One thing, by id or name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    pub(crate) name: String,
}

/// One thing, by id or name, and why its state is changed.
#[derive(Debug, Args)]
pub(crate) struct NamedReason {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    pub(crate) name: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// The consent that a destructive verb needs.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask; needed where nobody sits at a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl Consent {
    /// Shows what is about to end and asks for its name at a terminal; elsewhere `--yes` is
    /// needed.
    pub(crate) async fn ask(&self, out: &Output, effect: &str, name: &str) -> Result<(), Failure> {
        if self.yes {
            out.say(effect);
            return Ok(());
        }
        if !out.interactive {
            return Err(Failure::usage(
                "this needs consent, and nobody can be asked",
                effect,
                "look at it once more and add --yes",
            ));
        }
        out.say(effect);
        out.prompt(&format!("Type `{name}` to go on: "));
        let answer = tokio::task::spawn_blocking(input::line).await;
        match answer {
            Ok(Ok(answer)) if answer == name => Ok(()),
            Ok(Err(failure)) => Err(failure),
            _ => Err(Failure::usage(
                "nothing was changed",
                "what was typed is not its name",
                "run it again and type the name, or add --yes",
            )),
        }
    }
}

/// The form of data; an empty variable counts as none.
fn format(text: &str) -> Result<Format, String> {
    match text {
        "" | "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => Err("write table or json".to_owned()),
    }
}

/// A `RESOURCE:ACTION` as `--allow` and `--default-scope` take it.
pub(crate) fn scope_token(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((resource, action))
            if !resource.is_empty()
                && !action.is_empty()
                && !text.contains(char::is_whitespace)
                && !action.contains(':') =>
        {
            Ok(text.to_owned())
        }
        _ => Err("write RESOURCE:ACTION, for example crm:read".to_owned()),
    }
}

/// A permission as `--allow` takes it: `RESOURCE:ACTION`, with limits in parentheses behind it.
pub(crate) fn permission(text: &str) -> Result<Permission, String> {
    if !text.contains('(') {
        scope_token(text)?;
    }
    text.parse().map_err(|error: PermissionTextError| error.to_string())
}

/// The texts of permissions, as the API takes them.
pub(crate) fn texts(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().flat_map(Permission::texts).collect()
}

/// A duration for `--expires-in` and the like.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

/// An instant for `--review-due`.
pub(crate) fn time(text: &str) -> Result<accredit_wire::time::Time, String> {
    text.parse().map_err(|error: accredit_wire::time::TimeError| error.to_string())
}

/// The body of a request: only members that were given.
#[derive(Debug, Default)]
pub(crate) struct Body(Map<String, Value>);

impl Body {
    /// An empty object.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With a member.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// With a member, where there is a value.
    #[must_use]
    pub(crate) fn with_opt(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The object, refused where nothing was given: an update of nothing is a mistake.
    pub(crate) fn changed(self, flags: &str) -> Result<Value, Failure> {
        if self.0.is_empty() {
            return Err(Failure::usage(
                "there is nothing to update",
                "no member to change was given",
                &format!("give at least one of {flags}"),
            ));
        }
        Ok(self.json())
    }

    /// The object.
    pub(crate) fn json(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests;
