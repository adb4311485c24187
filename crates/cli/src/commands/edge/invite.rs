//! `accredit edge invite`: a token with which one machine becomes a node, once.

use std::time::Duration;

use clap::Args;
use http::Method;

use crate::args::{self, Body};
use crate::context::Context;
use crate::errors::Failure;
use crate::request_path::RequestPath;

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The agent of which the node is an instance, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// What people call the node
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long the token waits to be used (10m; at most 24h)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// How long the node lives from when it joins (30d; at most 366d)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    node_expires_in: Option<Duration>,
}

pub(super) async fn run(args: Invite, cx: &Context) -> Result<(), Failure> {
    let node = Body::new()
        .with_opt("name", args.name)
        .with_opt("expires_in", args.node_expires_in.map(|life| life.as_secs()));
    let body = Body::new()
        .with("agent", args.agent)
        .with("type", "join-token")
        .with("node", node.json())
        .with_opt("expires_in", args.expires_in.map(|life| life.as_secs()));
    let path = RequestPath::new("/v1/credentials");
    cx.out.created(&cx.api()?.call(Method::POST, path, Some(body.json())).await?)
}
