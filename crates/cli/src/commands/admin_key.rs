//! `accredit admin-key`: the keys of the organization's administrators.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;

use crate::args::lists::{Expires, LastUsed};
use crate::args::{self, Body, StateList};
use crate::commands::{self, revocation};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 6] = [
    Column::new("ID", "id"),
    Column::new("ROLE", "role"),
    Column::new("PURPOSE", "purpose"),
    Column::new("STATE", "state"),
    Column::new("EXPIRES", "expires_at"),
    Column::new("LAST USED", "last_used_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct AdminKey {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key for an administrator, shown once; only an owner does
    #[command(
        after_help = "Examples:\n  accredit admin-key create --role auditor --purpose \"audit of 2026\" --expires-in 30d\n  \
                      accredit admin-key create --role operator --purpose \"deployment\"\n  \
                      accredit admin-key create --role security --purpose \"pager\" --permission revoke\n\n\
                      Roles:\n  \
                      owner     everything in the organization, and these keys\n  \
                      security  reads, stops and revokes, reads the log\n  \
                      operator  reads and sets up: agents, resources, credentials\n  \
                      auditor   reads, the log too"
    )]
    Create(Create),
    /// List administrators' keys
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit admin-key list")]
    List(List),
    /// Show one key, without its secret
    #[command(visible_alias = "show", after_help = "Example:\n  accredit admin-key get crd_…")]
    Get(One),
    /// End a key at once; not the one in use, and never the last owner's
    #[command(after_help = "Example:\n  accredit admin-key revoke crd_… --reason \"has left\"")]
    Revoke(Revoke),
    /// Make a key's successor; the old one lives on for a while
    #[command(after_help = "Example:\n  accredit admin-key rotate crd_… --overlap 15m")]
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Create {
    /// What it may do
    #[arg(long)]
    role: Role,
    /// What it is for; stands in lists and in the audit log
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Only this of what the role may do; can be given several times
    #[arg(long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    /// When it ends by itself, from now (90d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Owner,
    Security,
    Operator,
    Auditor,
}

impl Role {
    const fn text(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Security => "security",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    expires: Expires,
    #[command(flatten)]
    last_used: LastUsed,
    #[command(flatten)]
    among: StateList,
}

#[derive(Debug, Args)]
struct One {
    /// Its id
    id: String,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
struct Rotate {
    /// Its id
    id: String,
    /// How long the old key lives on (1h); a day at most
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    overlap: Option<Duration>,
    /// When the new key ends by itself, from now (90d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/admin-keys")
}

/// Runs one of its verbs.
pub(crate) async fn run(key: AdminKey, cx: &Context) -> Result<(), Failure> {
    match key.verb {
        Verb::Create(args) => {
            let narrowed = (!args.permissions.is_empty()).then_some(args.permissions);
            let body = Body::new()
                .with("role", args.role.text())
                .with("purpose", args.purpose)
                .with_opt("permissions", narrowed)
                .with_opt("expires_in", args.expires_in.map(|life| life.as_secs()))
                .json();
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => {
            let path = args.last_used.of(args.expires.of(all()));
            commands::list(args.among.of(path), args.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
        Verb::Revoke(args) => {
            revocation::check_kind::<accredit_wire::ids::CredentialId>(&args.id)?;
            revocation::revoke(&args.id, &args.reason, cx).await
        }
        Verb::Rotate(args) => {
            let body = Body::new()
                .with_opt("overlap", args.overlap.map(|life| life.as_secs()))
                .with_opt("expires_in", args.expires_in.map(|life| life.as_secs()))
                .json();
            let path = all().segment(&args.id).segment("rotate");
            cx.out.created(&cx.api()?.call(Method::POST, path, Some(body)).await?)
        }
    }
}
