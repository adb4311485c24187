//! `accredit store copy`: an installation moves from one engine to another, log and all.
//!
//! The source must not be served meanwhile: what is written to it afterwards would be missing. Before
//! anything is called done, every table of the copy was compared with the source's, and with the root
//! key at hand each log is computed again from the copy.

use std::path::{Path, PathBuf};

use accredit_domain::Fault;
use accredit_domain::audit::fsck::fsck;
use accredit_domain::ports::{Page, Registry as _};
use accredit_domain::registry::PAGE_ROWS_MAX;
use accredit_store::copy::{Copied, copy_all};
use accredit_store::inspect::inspect;
use accredit_store::place::Place;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::output::{counted, line};
use crate::root_key;
use crate::settings::store::{Login, NoStore};

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copy a whole store into an empty one, on another engine or the same, and compare them
    #[command(
        after_help = "Example:\n  accredit store copy --from sqlite:./accredit/accredit.db --to postgres://accredit@db.example/accredit --password-file ./password --root-key ./accredit/root.key\n\n\
                      Stop the server first, and serve the old store never again: both would go on \
                      from the same log."
    )]
    Copy(Copy),
}

#[derive(Debug, Args)]
struct Copy {
    /// The store to copy: sqlite:FILE or postgres://USER@HOST:PORT/DATABASE; nobody may be serving it
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The store to make, which must be empty
    #[arg(long, value_name = "STORE")]
    to: String,
    /// The file with the database's password; ACCREDIT_STORE_PASSWORD where not given
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The authorities, PEM, for the database's server; the public ones where not given
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The root key, with which each log is computed again from the copy
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

/// Runs its verb.
pub(crate) async fn run(noun: Store, cx: &Context) -> Result<(), Failure> {
    let Verb::Copy(args) = noun.verb;
    let (from, to) = (place(&args.from, &args, cx)?, place(&args.to, &args, cx)?);
    if !compose::holds_store(&from)? {
        let detail = format!("`{from}` holds no store");
        let hint = "check `--from`";
        return Err(Failure::new(Exit::NotFound, "store", "there is no store", &detail, hint));
    }
    // Read before anything is copied that it would not open.
    let root = args.root_key.as_deref().map(root_key::read).transpose()?;
    let copied = copy_all(&from, &to).map_err(|fault| failed(&fault))?;
    let seen = inspect(&to).map_err(|fault| failed(&fault))?;
    let logs = match (root, &seen.installation) {
        (Some(root), Some(installation)) => {
            let composed = compose::compose_with(&to, root, &installation.public_url).await?;
            let checked = check(&composed).await;
            composed.store.close();
            Some(checked.map_err(|fault| failed(&fault))?)
        }
        _ => None,
    };
    tell(&copied, (seen.sequenced, logs.as_deref()), (&from, &to), cx)?;
    if logs.is_some_and(|findings| !findings.is_empty()) {
        return Err(Failure::new(
            Exit::VerificationFailed,
            "store",
            "the log is not what was signed",
            "the copy is as its source: leaves, tiles and checkpoints do not agree in either",
            "run `accredit fsck` on the source, and compare it with a backup",
        ));
    }
    Ok(())
}

/// The store that one of the two names.
fn place(text: &str, args: &Copy, cx: &Context) -> Result<Place, Failure> {
    let login = if text.starts_with("sqlite:") {
        Login::default()
    } else {
        Login {
            password_file: args.password_file.as_deref(),
            password: cx.around.store_password.as_ref(),
            authorities: args.ca_file.as_deref(),
        }
    };
    login.reach(text, Path::new("")).map_err(|failure| match failure {
        NoStore::Written(detail, hint) => Failure::usage("a store cannot be used", &detail, hint),
        NoStore::Password(failure) => failure,
    })
}

/// Computes all logs again; what does not agree.
async fn check(composed: &compose::Composed) -> Result<Vec<String>, Fault> {
    let mut findings = Vec::new();
    let mut page = Page { limit: PAGE_ROWS_MAX, ..Page::default() };
    loop {
        let found = composed.store.organizations(page.clone()).await?;
        for row in found.items {
            let now = composed.world.clock.now();
            let Some(tenant) = composed.server.tenants.by_id(row.id, now).await? else { continue };
            let report = fsck(&composed.world, &tenant).await?;
            findings.extend(report.findings.iter().map(|found| format!("{}: {found}", row.name)));
        }
        if found.next.is_none() {
            return Ok(findings);
        }
        page.cursor = found.next;
    }
}

fn tell(
    copied: &Copied,
    (events, findings): (u64, Option<&[String]>),
    (from, to): (&Place, &Place),
    cx: &Context,
) -> Result<(), Failure> {
    if cx.out.is_json() {
        let told = json!({
            "from": from.to_string(),
            "to": to.to_string(),
            "tables": copied.tables,
            "rows": copied.rows(),
            "events": events,
            "logs_checked": findings.is_some(),
            "findings": findings.unwrap_or_default(),
        });
        return line(&told.to_string());
    }
    line(&format!(
        "{to}: {}, {}, {}, {}, each table compared",
        counted(copied.rows_of("organization"), "organization"),
        counted(copied.rows_of("agent"), "agent"),
        counted(events, "event"),
        counted(copied.rows(), "row"),
    ))?;
    match findings {
        Some(findings) => {
            findings.iter().try_for_each(|finding| line(&format!("  {finding}")))?;
            if findings.is_empty() {
                line("logs: ok, computed again from the copy")?;
            }
        }
        None => cx.out.say("the logs were not computed again: name the root key for that"),
    }
    cx.out
        .say(&format!("next: set `store = \"{to}\"` in the configuration, and put `{from}` away"));
    Ok(())
}

fn failed(fault: &Fault) -> Failure {
    let hint = "nothing was changed in the source; empty the target and run it again";
    Failure::new(Exit::Failure, "store", "the store was not copied", &fault.to_string(), hint)
}
