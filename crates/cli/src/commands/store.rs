//! `accredit store copy`: an installation moves from one engine to another, log and all; `declare-loss`:
//! a database went back to an earlier state, as a standby that was behind leaves it.
//!
//! The source must not be served meanwhile: what is written to it while it is copied is noticed, and the copy is
//! none then; what is written afterwards would be missing. Before
//! anything is called done, every table of the copy was compared with the source's, and with the root
//! key at hand each log is computed again from the copy.

use std::path::{Path, PathBuf};

use accredit_domain::audit::fsck::fsck;
use accredit_domain::ports::{Log as _, Page, Registry as _};
use accredit_domain::registry::PAGE_ROWS_MAX;
use accredit_domain::restoration::Because;
use accredit_domain::{Error, Fault, restoration};
use accredit_store::copy::{Copied, copy_still};
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
use crate::settings::Settings;
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
    /// Say that a database has lost what was answered, as a new generation: all tokens end, and none
    /// is issued until it is known what was ended in what was lost
    #[command(
        after_help = "Example:\n  accredit store declare-loss --config ./accredit/accredit.toml --reason \"the standby was behind\"\n\n\
                      For nodes that say `store-lost`, and wherever an older state of the database took \
                      the place of a newer one. The nodes may run: they go on by themselves. Then say what was ended \
                      with `accredit backup reconcile` or `waive`."
    )]
    DeclareLoss(DeclareLoss),
}

#[derive(Debug, Args)]
struct DeclareLoss {
    /// The configuration of the installation
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What happened; stands in the revocation that ends all tokens
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The lowest generation to begin; higher than any that was begun in what was lost
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(2..=restoration::GENERATION_MAX))]
    generation: u64,
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
    let args = match noun.verb {
        Verb::Copy(args) => args,
        Verb::DeclareLoss(args) => return declare_loss(&args, cx).await,
    };
    let (from, to) = (place(&args.from, &args, cx)?, place(&args.to, &args, cx)?);
    if !compose::holds_store(&from)? {
        let detail = format!("`{from}` holds no store");
        let hint = "check `--from`";
        return Err(Failure::new(Exit::NotFound, "store", "there is no store", &detail, hint));
    }
    // Read before anything is copied that it would not open.
    let root = args.root_key.as_deref().map(root_key::read).transpose()?;
    let copied = copy_still(&from, &to).map_err(|fault| failed(&fault))?;
    let seen = inspect(&to).map_err(|fault| failed(&fault))?;
    let logs = match (root, &seen.installation) {
        (Some(root), Some(installation)) => {
            let composed = compose::compose_with(&to, root, &installation.public_url, None).await?;
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

/// Begins a generation of each organization, and lets the nodes go on.
async fn declare_loss(args: &DeclareLoss, cx: &Context) -> Result<(), Failure> {
    let settings = Settings::read(&args.config, &cx.around)?;
    if let Place::File(path) = &settings.store {
        let detail =
            format!("`{}` is a file, which no standby can take the place of", path.display());
        let hint = "restore a backup with `accredit backup restore`";
        return Err(Failure::usage("nothing was declared", &detail, hint));
    }
    if !compose::holds_store(&settings.store)? {
        let detail = format!("`{}` holds no store", settings.store);
        let hint = "check `store` in the configuration";
        return Err(Failure::new(Exit::NotFound, "store", "there is no store", &detail, hint));
    }
    let composed = compose::compose_as(&settings).await?;
    let begun = begin_anew(&composed, args).await;
    composed.store.close();
    let begun = begun.map_err(|error| {
        let hint = "no node answers anything until it is declared: run it again";
        let detail = error.to_string();
        Failure::new(Exit::Failure, "store", "the loss was not declared", &detail, hint)
    })?;
    if cx.out.is_json() {
        let organizations: Vec<_> = begun
            .iter()
            .map(|(name, generation)| json!({"name": name, "generation": generation}))
            .collect();
        return line(&json!({"organizations": organizations}).to_string());
    }
    begun
        .iter()
        .try_for_each(|(name, generation)| line(&format!("{name}: generation {generation}")))?;
    cx.out.say(
        "all tokens of before are dead, and none is issued until it is known what was ended in what was \
         lost:\n\
         with an export of the lost log   accredit backup reconcile --config FILE --org NAME \
         --audit-export FILE\n\
         without one                      accredit backup waive --reason TEXT\n\
         Verifiers that saw events which are lost raise an alarm: tell whoever runs them the generation",
    );
    Ok(())
}

/// The names of the organizations, with the generations that were begun.
async fn begin_anew(
    composed: &compose::Composed,
    args: &DeclareLoss,
) -> Result<Vec<(String, u64)>, Error> {
    // Nobody writes from here on but this process.
    composed.store.declare_loss().await?;
    let (mut begun, mut page) = (Vec::new(), Page { limit: PAGE_ROWS_MAX, ..Page::default() });
    loop {
        let found = composed.store.organizations(page.clone()).await?;
        for row in found.items {
            let now = composed.world.clock.now();
            let Some(tenant) = composed.server.tenants.by_id(row.id, now).await? else { continue };
            let asked = (args.generation, Because::LossDeclared(&args.reason));
            let generation = restoration::begin(&composed.world, &tenant, asked, now).await?;
            composed.store.begin_generation(generation).await?;
            begun.push((row.name, args.generation.max(row.generation + 1)));
        }
        if found.next.is_none() {
            break;
        }
        page.cursor = found.next;
    }
    composed.store.loss_declared().await?;
    Ok(begun)
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
