//! The commands: a file for each noun, with its verbs' arguments beside the code that runs them.
//!
//! Each of them is a client of the HTTP API and knows nothing that the API does not say.

pub(crate) mod admin_key;
pub(crate) mod agent;
pub(crate) mod as_agent;
pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod ca;
pub(crate) mod certificate;
pub(crate) mod config;
pub(crate) mod credential;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod edge;
pub(crate) mod federation;
pub(crate) mod fsck;
pub(crate) mod init;
pub(crate) mod instance;
pub(crate) mod key_check;
pub(crate) mod kill;
pub(crate) mod operator_key;
pub(crate) mod org;
pub(crate) mod permission;
pub(crate) mod person;
pub(crate) mod reference;
pub(crate) mod resource;
pub(crate) mod revocation;
pub(crate) mod root;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod serving;
pub(crate) mod signing_key;
pub(crate) mod store;
pub(crate) mod task;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod trust_domain;
pub(crate) mod upgrade;

use std::future::Future;

use http::Method;
use serde_json::json;

use crate::args::{ClientCommand, Command, Paging};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

/// Runs a command to its end. A client's command is dropped by the keyboard's interrupt; one
/// that serves ends in its own time and does not pass through [`interruptible`].
pub(crate) async fn run(command: Command, cx: &Context) -> Result<(), Failure> {
    if cx.flags.dry_run && !has_dry_run(&command) {
        return Err(no_dry_run());
    }
    match command {
        Command::Demo(args) => demo::run(&args, cx).await,
        Command::Dev(args) => dev::run(&args, cx).await,
        Command::Init(args) => init::run(&args, cx).await,
        Command::Serve(args) => serve::run(&args, cx).await,
        Command::Run(args) => Box::pin(run::run(*args, cx)).await,
        Command::Edge(noun) => Box::pin(edge::run(noun, cx)).await,
        Command::Root(noun) => root::run(noun, cx).await,
        Command::Tls(noun) => tls::run(noun, cx).await,
        Command::OperatorKey(noun) => operator_key::run(noun, cx).await,
        Command::Backup(noun) => backup::run(noun, cx).await,
        Command::Store(noun) => store::run(noun, cx).await,
        Command::Upgrade(noun) => upgrade::run(&noun, cx),
        Command::Fsck(args) => fsck::run(&args, cx).await,
        Command::Doctor(args) => interruptible(doctor::run(&args, cx)).await,
        Command::Config(noun) => config::run(&noun, cx),
        Command::Completions(args) => reference::completions(&args),
        Command::Man(args) => reference::man(&args, cx),
        Command::Openapi => {
            let document = accredit_server::openapi::document();
            crate::output::line(&format!("{document:#}"))
        }
        Command::Client(command) => interruptible(client(*command, cx)).await,
    }
}

/// The commands that ask a server, or work on files.
async fn client(command: ClientCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        ClientCommand::Org(noun) => org::run(noun, cx).await,
        ClientCommand::AdminKey(noun) => admin_key::run(noun, cx).await,
        ClientCommand::Person(noun) => person::run(noun, cx).await,
        ClientCommand::Federation(noun) => federation::run(noun, cx).await,
        ClientCommand::TrustDomain(noun) => trust_domain::run(noun, cx).await,
        ClientCommand::Resource(noun) => resource::run(noun, cx).await,
        ClientCommand::Agent(noun) => Box::pin(agent::run(noun, cx)).await,
        ClientCommand::Permission(noun) => permission::run(noun, cx).await,
        ClientCommand::Instance(noun) => instance::run(noun, cx).await,
        ClientCommand::Task(noun) => task::run(noun, cx).await,
        ClientCommand::Credential(noun) => credential::run(noun, cx).await,
        ClientCommand::Attest(noun) => attest::run(noun, cx).await,
        ClientCommand::Revoke(verb) => revocation::revoke(&verb.id, &verb.reason, cx).await,
        ClientCommand::Drill(verb) => drill::run(verb, cx).await,
        ClientCommand::Kill(verb) => kill::run(&verb, cx).await,
        ClientCommand::Revocation(noun) => revocation::run(noun, cx).await,
        ClientCommand::SigningKey(noun) => signing_key::run(noun, cx).await,
        ClientCommand::Ca(noun) => ca::run(noun, cx).await,
        ClientCommand::Certificate(noun) => certificate::run(noun, cx).await,
        ClientCommand::KeyCheck(args) => key_check::run(&args, cx).await,
        ClientCommand::Audit(noun) => audit::run(noun, cx).await,
        ClientCommand::Token(noun) => token::run(noun, cx).await,
    }
}

/// Runs until the end or the keyboard's interrupt. What was being written to a temporary file is
/// then removed with it.
async fn interruptible(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = command => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

/// Prints one object that the server has.
async fn show(path: RequestPath, cx: &Context) -> Result<(), Failure> {
    cx.out.object(&cx.api()?.get(path).await?)
}

/// Prints part of a list.
async fn list(
    path: RequestPath,
    paging: Paging,
    columns: &[Column],
    cx: &Context,
) -> Result<(), Failure> {
    let items_max = paging.items_max();
    let page = cx.api()?.list(path, items_max, paging.cursor).await?;
    cx.out.list(&page, columns)
}

/// Whether a command's verbs only ask a server, so that the API's client can hold them back.
fn has_dry_run(command: &Command) -> bool {
    let Command::Client(command) = command else { return false };
    !matches!(
        **command,
        ClientCommand::Audit(_) | ClientCommand::Token(_) | ClientCommand::KeyCheck(_)
    )
}

/// A verb that would change something else than it could show before.
pub(crate) fn no_dry_run() -> Failure {
    Failure::usage(
        "this command has no `--dry-run`",
        "it can be shown before what a verb would suspend, revoke or end, and nothing else",
        "nothing was changed; leave `--dry-run` out to run the command",
    )
}

/// Changes a thing's state, and prints what it is now.
async fn change_state(
    path: RequestPath,
    verb: &str,
    reason: Option<&str>,
    cx: &Context,
) -> Result<(), Failure> {
    if cx.flags.dry_run && verb != "activate" {
        let found = cx.api()?.get(path).await?;
        return revocation::preview(found.member("id").unwrap_or_default(), cx).await;
    }
    let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
    let answer = cx.api()?.call(Method::POST, path.segment(verb), Some(body)).await?;
    cx.out.object(&answer)
}

#[cfg(test)]
mod tests;
