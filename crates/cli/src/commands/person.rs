//! `accredit person`: Persons, the owners of agents and the users whom agents work for.

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{Body, NameList, NamedReason, Paging, Sort};
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
    /// Grant a person what chains that begin with them may do
    #[command(after_help = "Example:\n  accredit person grant jo@example.com --allow crm:read")]
    Grant(Grant),
    /// Take a grant away; tokens in whose chain the person stands end
    #[command(after_help = "Example:\n  accredit person ungrant jo@example.com --allow crm:read")]
    Ungrant(Grant),
    /// List what was granted to a person
    #[command(after_help = "Example:\n  accredit person grants jo@example.com")]
    Grants(Below),
    /// Say who a person is at an external issuer
    #[command(
        after_help = "Example:\n  accredit person link jo@example.com --federation corp --subject 248289761001"
    )]
    Link(Link),
    /// Say that a person is that no more; tokens in whose chain they stand end
    #[command(
        after_help = "Example:\n  accredit person unlink jo@example.com --federation corp --subject 248289761001"
    )]
    Unlink(Link),
    /// List who a person is at external issuers
    #[command(after_help = "Example:\n  accredit person identities jo@example.com")]
    Identities(Below),
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

#[derive(Debug, Args)]
struct Grant {
    /// Their id or e-mail address
    #[arg(value_name = "ID|EMAIL")]
    person: String,
    /// What: `resource:action`; to take away, `resource` alone is all there
    #[arg(long, value_name = "RESOURCE:ACTION", required = true, num_args = 1..)]
    allow: Vec<String>,
}

#[derive(Debug, Args)]
struct Link {
    /// Their id or e-mail address
    #[arg(value_name = "ID|EMAIL")]
    person: String,
    /// The federation's id or name
    #[arg(long, value_name = "ID|NAME")]
    federation: String,
    /// How the issuer names them: `sub` of their tokens, byte for byte
    #[arg(long)]
    subject: String,
}

#[derive(Debug, Args)]
struct Below {
    /// Their id or e-mail address
    #[arg(value_name = "ID|EMAIL")]
    person: String,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    paging: Paging,
}

const GRANTS: [Column; 2] =
    [Column::new("RESOURCE", "resource"), Column::new("ACTIONS", "actions")];

const IDENTITIES: [Column; 3] = [
    Column::new("FEDERATION", "federation"),
    Column::new("SUBJECT", "subject"),
    Column::new("LINKED", "linked_at"),
];

async fn post(person: &str, what: &str, body: Body, cx: &Context) -> Result<(), Failure> {
    let path = all().segment(person).segment(what);
    cx.out.object(&cx.api()?.call(Method::POST, path, Some(body.json())).await?)
}

impl Link {
    fn body(&self) -> Body {
        let body = Body::new().with("federation", self.federation.clone());
        body.with("subject", self.subject.clone())
    }
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
        Verb::Grant(args) => {
            post(&args.person, "grant", Body::new().with("allow", args.allow), cx).await
        }
        Verb::Ungrant(args) => {
            post(&args.person, "ungrant", Body::new().with("allow", args.allow), cx).await
        }
        Verb::Grants(args) => {
            let path = args.sort.of(all().segment(&args.person).segment("permissions"));
            commands::list(path, args.paging, &GRANTS, cx).await
        }
        Verb::Link(args) => post(&args.person, "link", args.body(), cx).await,
        Verb::Unlink(args) => post(&args.person, "unlink", args.body(), cx).await,
        Verb::Identities(args) => {
            let path = args.sort.of(all().segment(&args.person).segment("identities"));
            commands::list(path, args.paging, &IDENTITIES, cx).await
        }
    }
}
