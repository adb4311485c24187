//! `accredit certificate`: X.509-SVIDs, by which instances know each other.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::x509::{decoded, pem, request};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::args::lists::{Created, Expires, Sort};
use crate::args::{self, Paging};
use crate::commands;
use crate::commands::as_agent::AsAgent;
use crate::context::Context;
use crate::errors::{Failure, one_line};
use crate::output::{self, Answer, Column};
use crate::request_path::RequestPath;
use crate::{input, secrecy};

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("AGENT", "agent"),
    Column::new("INSTANCE", "instance"),
    Column::new("STANDING", "standing"),
    Column::new("EXPIRES", "expires_at"),
];

/// The label of a key in PKCS #8 (RFC 7468 section 10).
const KEY_LABEL: &str = "PRIVATE KEY";

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Certificate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Get one as an instance, for a key that stays here
    #[command(
        after_help = "Example:\n  accredit certificate issue --client-id agt_… --secret-file secret \
                      --org dev \\\n    --key key.pem --certificate certificate.pem\n\n\
                      The key is made where there is none, and used again where there is one. The \
                      certificate\nholds for an hour at most; ask for the next when half of that is \
                      over. `accredit ca bundle`\nprints what its verifiers trust; `accredit revoke \
                      tok_…` ends it."
    )]
    Issue(Issue),
    /// List certificates that are not over
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit certificate list --agent planner"
    )]
    List(List),
    /// Show one certificate
    #[command(visible_alias = "show", after_help = "Example:\n  accredit certificate get tok_…")]
    Get(One),
}

#[derive(Debug, Args)]
struct Issue {
    /// A file with your private key, P-256 in PKCS #8, PEM; made where there is none
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the certificate is written, with the intermediate behind it; else standard output
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its life, from now (30m); an hour at most
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// The task that it is for, and ends with
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// A host that it names too, which the agent's policy lets it; repeat it for others
    #[arg(long, value_name = "HOST")]
    dns_name: Vec<String>,
    #[command(flatten)]
    by: AsAgent,
}

#[derive(Debug, Args)]
struct List {
    /// Only of this agent, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    /// Only of this instance
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    created: Created,
    #[command(flatten)]
    expires: Expires,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
struct One {
    /// Its id
    id: String,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/certificates")
}

/// Runs one of its verbs.
pub(crate) async fn run(certificate: Certificate, cx: &Context) -> Result<(), Failure> {
    match certificate.verb {
        Verb::Issue(args) => issue(args, cx).await,
        Verb::List(args) => {
            let path = all().query_opt("agent", args.agent.as_deref());
            let path = path.query_opt("instance", args.instance.as_deref());
            let path = args.expires.of(args.created.of(args.sort.of(path)));
            commands::list(path, args.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
    }
}

async fn issue(args: Issue, cx: &Context) -> Result<(), Failure> {
    if cx.flags.dry_run {
        return Err(commands::no_dry_run());
    }
    let Some(client_id) = args.by.client_id.clone() else {
        return Err(Failure::usage(
            "whose certificate?",
            "an instance asks for its own, and --client-id was not given",
            "add --client-id agt_… and the instance's secret: --secret-file FILE",
        ));
    };
    let file = args.key;
    let csr = tokio::task::spawn_blocking(move || {
        let key = read_or_make(&file)?;
        request::write(&key).map_err(|error| {
            Failure::usage("no request could be made", &error.to_string(), "try another key")
        })
    });
    let csr = csr.await.unwrap_or_else(|_| Err(Failure::interrupted()))?;
    let mut form = vec![("csr", csr)];
    form.extend(args.task.map(|task| ("task", task)));
    form.extend(args.expires_in.map(|expires| ("expires_in", expires.as_secs().to_string())));
    form.extend((!args.dns_name.is_empty()).then(|| ("dns_names", args.dns_name.join(" "))));
    let answer = args.by.post(&client_id, "certificates", form, cx).await?;
    let chain = answer.member("certificate").filter(|chain| chain.is_ascii());
    let chain = chain
        .ok_or_else(|| Failure::not_understood("the server", "it has no `certificate`"))?
        .to_owned();
    match args.certificate {
        Some(file) => {
            let put = tokio::task::spawn_blocking(move || replace(&file, &chain)).await;
            put.unwrap_or_else(|_| Err(Failure::interrupted()))?;
            cx.out.object(&if cx.out.is_json() { answer } else { without_text(answer) })
        }
        None if cx.out.is_json() => cx.out.object(&answer),
        None => {
            output::line(chain.trim_end())?;
            let of = |name| answer.member(name).map(one_line).unwrap_or_default();
            let [id, name, until] = ["id", "spiffe_id", "expires_at"].map(of);
            cx.out.say(&format!("{id}: {name}, until {until}"));
            Ok(())
        }
    }
}

/// What people are told of a certificate that stands in a file.
fn without_text(answer: Answer) -> Answer {
    let mut value = answer.value;
    value.as_object_mut().map(|members| members.remove("certificate"));
    Answer { text: value.to_string(), value, replayed: answer.replayed }
}

/// Puts a text that everybody may read in the place of a file in one step, so that nobody reads half
/// of it.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let put = || {
        let mut beside = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        beside.write_all(text.as_bytes())?;
        beside.as_file().sync_all()?;
        beside.persist(file).map(drop).map_err(|error| error.error)
    };
    put().map_err(|error| {
        let title = format!("`{}` was not written", file.display());
        Failure::file(&title, &error, "choose another folder")
    })
}

/// The key in a file, where there is one; else a new one, written to a file that only its owner can
/// read.
fn read_or_make(file: &Path) -> Result<PrivateKey, Failure> {
    secrecy::write_new_key(file, || {
        let made = PrivateKey::generate(Algorithm::Es256);
        let (_, der) = made.map_err(|error| {
            Failure::usage("no key could be made", &error.to_string(), "try again")
        })?;
        Ok(Zeroizing::new(pem(KEY_LABEL, &der)))
    })?;
    read(file)
}

fn read(file: &Path) -> Result<PrivateKey, Failure> {
    let text = Zeroizing::new(input::text(file)?);
    let der = decoded(KEY_LABEL, &text).map(Zeroizing::new);
    let key = der.and_then(|der| PrivateKey::from_pkcs8(Algorithm::Es256, &der).ok());
    key.ok_or_else(|| {
        Failure::usage(
            &format!("`{}` does not hold your private key", file.display()),
            "it is no PEM block `PRIVATE KEY` with a key of P-256",
            "name a file that is not there, and a key is made; or convert yours: `openssl pkcs8 \
             -topk8 -nocrypt`",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn public(file: &Path) -> Result<Vec<u8>, Failure> {
        Ok(read_or_make(file)?.public().expect("its public half").bytes().to_vec())
    }

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        let made = public(&file).expect("made");
        assert_eq!(public(&file).expect("read"), made);
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(public(&folder.path().join("other.pem")).expect("made"), made);
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
            .expect("written");
        assert!(public(&file).is_err(), "what is there is never overwritten");
        assert!(public(&folder.path().join("no/such")).is_err());
    }

    #[test]
    fn a_certificate_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("certificate.pem");
        for text in ["one", "two"] {
            replace(&file, text).expect("written");
            assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert!(replace(&folder.path().join("no/such"), "one").is_err());
    }
}
