//! `accredit ca`: the organization's certificate authority.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;

use crate::args::Body;
use crate::commands::{self, certificate};
use crate::context::Context;
use crate::errors::Failure;
use crate::input;
use crate::output::{self, Answer};
use crate::request_path::RequestPath;

const PATH: &str = "/v1/ca";
const LISTS: &str = "/v1/ca/crls";
const REQUEST: &str = "/v1/ca/csr";
const CERTIFICATE: &str = "/v1/ca/certificate";

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show its trust domain, its roots and its intermediates
    #[command(after_help = "Example:\n  accredit ca show\n\n\
                      Its keys rotate with `accredit signing-key rotate --purpose ca-root` and \
                      `--purpose ca`;\n`held` says whether one is in a PKCS#11 token.")]
    Show,
    /// Print the roots that are to be trusted, PEM
    #[command(after_help = "Example:\n  accredit ca bundle > bundle.pem")]
    Bundle,
    /// Print or write the lists of certificates that were revoked, PEM
    #[command(after_help = "Example:\n  accredit ca crl -o /etc/nginx/crl.pem\n\n\
                      A list is over after five minutes: fetch them every minute. Anybody may, by \
                      the `url` that\n`--output json` shows, without a key.")]
    Crl(Crl),
    /// Print or write a request for the certificate of the next root, for a root that is kept elsewhere
    #[command(after_help = "Example:\n  accredit ca export-csr -o next.csr\n\n\
                      With OpenSSL, where the root is: openssl x509 -req -in next.csr -CA root.pem -CAkey \
                      root.key \\\n    -copy_extensions copyall -days 1095 -out next.pem\n\
                      Then: cat next.pem root.pem > chain.pem; accredit ca import-certificate chain.pem")]
    ExportCsr(ExportCsr),
    /// Take the certificate that came back for it, and publish the root that signed it
    #[command(after_help = "Example:\n  accredit ca import-certificate chain.pem\n\n\
                      It signs from 30 minutes later on by itself, when every copy of the bundle has the \
                      root; at once\nwith `accredit signing-key rotate --purpose ca-root --now`. From then on \
                      each next root is to be\ncertified so before it can take the place of the last.")]
    ImportCertificate(ImportCertificate),
}

#[derive(Debug, Args)]
struct ExportCsr {
    /// Where it is written; else standard output
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportCertificate {
    /// The certificate, those between and the root's, PEM, each followed by its issuer's
    #[arg(value_name = "FILE")]
    chain: PathBuf,
}

#[derive(Debug, Args)]
struct Crl {
    /// Where they are written, all at once; else standard output
    #[arg(long = "output-file", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs one of its verbs.
pub(crate) async fn run(ca: Ca, cx: &Context) -> Result<(), Failure> {
    match ca.verb {
        Verb::Show => commands::show(RequestPath::new(PATH), cx).await,
        Verb::Bundle => {
            let answer = cx.api()?.get(RequestPath::new(PATH)).await?;
            let roots = answer.value["roots"].as_array().map(Vec::as_slice).unwrap_or_default();
            let texts = roots.iter().filter_map(|root| root["anchor"].as_str());
            output::line(texts.collect::<String>().trim_end())
        }
        Verb::Crl(args) => crl(args, cx).await,
        Verb::ExportCsr(args) => {
            let answer = cx.api()?.get(RequestPath::new(REQUEST)).await?;
            let csr = answer.member("csr").unwrap_or_default().to_owned();
            put(args.file, csr, &answer, cx).await
        }
        Verb::ImportCertificate(args) => {
            let body = Body::new().with("chain", input::text(&args.chain)?).json();
            let path = RequestPath::new(CERTIFICATE);
            let answer = cx.api()?.call(Method::POST, path, Some(body)).await?;
            cx.out.object(&answer)
        }
    }
}

async fn crl(args: Crl, cx: &Context) -> Result<(), Failure> {
    let answer = cx.api()?.get(RequestPath::new(LISTS)).await?;
    let lists = answer.value["lists"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text: String = lists.iter().filter_map(|list| list["crl"].as_str()).collect();
    put(args.file, text, &answer, cx).await
}

/// Writes a text of an answer to a file, all at once, or to standard output.
async fn put(
    file: Option<PathBuf>,
    text: String,
    answer: &Answer,
    cx: &Context,
) -> Result<(), Failure> {
    match file {
        Some(file) => {
            let put = tokio::task::spawn_blocking(move || certificate::replace(&file, &text)).await;
            put.unwrap_or_else(|_| Err(Failure::interrupted()))?;
            if cx.out.is_json() { cx.out.object(answer) } else { Ok(()) }
        }
        None if cx.out.is_json() => cx.out.object(answer),
        None => output::line(text.trim_end()),
    }
}
