//! `accredit signing-key`: the organization's signing keys.

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{Body, StateList};
use crate::commands::{self, revocation};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 7] = [
    Column::new("ID", "id"),
    Column::new("PURPOSE", "purpose"),
    Column::new("ALGORITHM", "algorithm"),
    Column::new("STATE", "state"),
    Column::new("HELD", "held"),
    Column::new("CREATED", "created_at"),
    Column::new("SINCE", "changed_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct SigningKey {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List signing keys
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit signing-key list")]
    List(StateList),
    /// Let the next key sign; what the one until now signed is still believed
    #[command(after_help = "Examples:\n  accredit signing-key rotate\n  \
                      accredit signing-key rotate --now\n  \
                      accredit signing-key rotate --purpose feed\n  \
                      accredit signing-key rotate --purpose log\n  \
                      accredit signing-key rotate --purpose biscuit\n  \
                      accredit signing-key rotate --purpose ca-root\n\n\
                      A key is published half an hour before it signs, so that every copy of the \
                      key set has it.")]
    Rotate(Rotate),
    /// End a key that leaked, and everything it signed
    #[command(after_help = "Example:\n  accredit signing-key revoke key_… --reason \"leaked\"")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Rotate {
    /// What the key signs: token, feed, log, biscuit, ca-root, ca or jwt-svid
    #[arg(long, value_name = "PURPOSE", default_value = "token")]
    purpose: String,
    /// Also where the next key was not published long enough
    #[arg(long)]
    now: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs one of its verbs.
pub(crate) async fn run(key: SigningKey, cx: &Context) -> Result<(), Failure> {
    match key.verb {
        Verb::List(args) => {
            let path = args.of(RequestPath::new("/v1/signing-keys"));
            commands::list(path, args.paging, &COLUMNS, cx).await
        }
        Verb::Rotate(args) => {
            let body = Body::new().with("purpose", args.purpose);
            let body = body.with_opt("now", args.now.then_some(true)).json();
            let path = RequestPath::new("/v1/signing-keys").segment("rotate");
            let answer = cx.api()?.call(Method::POST, path, Some(body)).await?;
            cx.out.object(&answer)
        }
        Verb::Revoke(args) => {
            revocation::check_kind::<accredit_wire::ids::KeyId>(&args.id)?;
            revocation::revoke(&args.id, &args.reason, cx).await
        }
    }
}
