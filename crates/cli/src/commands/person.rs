//! `accredit person`: Persons, the owners of agents.

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{Body, NameList, NamedReason};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("EMAIL", "email"),
    Column::new("NAME", "name"),
    Column::new("STATE", "state"),
    Column::new("CREATED", "created_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Person {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a person
    #[command(after_help = "Example:\n  accredit person create jo@example.com --name \"Jo Doe\"")]
    Create(Create),
    /// List persons
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit person list")]
    List(NameList),
    /// Show one person
    #[command(
        visible_alias = "show",
        after_help = "Example:\n  accredit person get jo@example.com"
    )]
    Get(One),
    /// Change a person's name
    #[command(after_help = "Example:\n  accredit person update jo@example.com --name \"Jo Roe\"")]
    Update(Update),
    /// Suspend a person: what their agents hold ends
    #[command(
        after_help = "Example:\n  accredit person suspend jo@example.com --reason \"left the company\""
    )]
    Suspend(NamedReason),
    /// Activate a suspended person
    #[command(
        after_help = "Example:\n  accredit person activate jo@example.com --reason \"is back\""
    )]
    Activate(NamedReason),
}

#[derive(Debug, Args)]
struct Create {
    /// Their e-mail address
    email: String,
    /// Their name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct One {
    /// Their id or e-mail address
    #[arg(value_name = "ID|EMAIL")]
    person: String,
}

#[derive(Debug, Args)]
struct Update {
    /// Their id or e-mail address
    #[arg(value_name = "ID|EMAIL")]
    person: String,
    /// Their name
    #[arg(long)]
    name: String,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/persons")
}

/// Runs one of its verbs.
pub(crate) async fn run(person: Person, cx: &Context) -> Result<(), Failure> {
    match person.verb {
        Verb::Create(args) => {
            let body = Body::new().with("email", args.email).with_opt("name", args.name).json();
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body)).await?)
        }
        Verb::List(args) => commands::list(args.of(all()), args.among.paging, &COLUMNS, cx).await,
        Verb::Get(one) => commands::show(all().segment(&one.person), cx).await,
        Verb::Update(args) => {
            let body = Body::new().with("name", args.name).json();
            let path = all().segment(&args.person);
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body)).await?)
        }
        Verb::Suspend(person) => {
            let path = all().segment(&person.name);
            commands::change_state(path, "suspend", Some(&person.reason), cx).await
        }
        Verb::Activate(person) => {
            let path = all().segment(&person.name);
            commands::change_state(path, "activate", Some(&person.reason), cx).await
        }
    }
}
