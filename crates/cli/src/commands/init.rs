//! `accredit init`: a data folder with configuration, root key, organization and first key.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use accredit_store::driver::target::Target;
use accredit_store::place::Place;
use clap::Args;
use serde_json::json;

use crate::args::token::TokenFlags;
use crate::compose;
use crate::context::Context;
use crate::errors::Failure;
use crate::exit::Exit;
use crate::hardware;
use crate::output::line;
use crate::root_key;
use crate::settings::pkcs11::Pkcs11;
use crate::settings::store::{Login, NoStore};
use crate::settings::{
    FILE_NAME, LISTEN_DEFAULT, ROOT_KEY_FILE_NAME, STORE_FILE_NAME, check_own_ca, check_public_url,
};

/// Arguments of `accredit init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  accredit init --data ./accredit --org acme --public-url https://id.acme.example\n  accredit init --data ./accredit && accredit serve --config ./accredit/accredit.toml\n  accredit init --data ./accredit --store postgres://accredit@db.example/accredit --store-password-file ./password\n  accredit init --data ./accredit --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token ca --pkcs11-pin-file ./pin"
)]
pub(crate) struct Init {
    /// The folder to create
    #[arg(long, value_name = "DIR", default_value = "accredit")]
    data: PathBuf,
    /// The first organization's name
    #[arg(long, value_name = "NAME", default_value = "main")]
    org: String,
    /// Where the server will be reached; issuers are made from it, so it never changes
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8420")]
    public_url: String,
    /// The address that the server will listen on
    #[arg(long, value_name = "ADDR:PORT", default_value = LISTEN_DEFAULT)]
    listen: String,
    /// Speak TLS by an authority of the installation's own: `accredit tls bundle` prints what to trust
    #[arg(long)]
    own_ca: bool,
    /// The database that holds the store, empty, instead of a file in the folder
    #[arg(long, value_name = "postgres://USER@HOST:PORT/DATABASE", env = "ACCREDIT_STORE")]
    store: Option<String>,
    /// The file with the database's password; ACCREDIT_STORE_PASSWORD where not given
    #[arg(long, value_name = "FILE", env = "ACCREDIT_STORE_PASSWORD_FILE")]
    store_password_file: Option<PathBuf>,
    /// The authorities, PEM, for the database's server; the public ones where not given
    #[arg(long, value_name = "FILE", env = "ACCREDIT_STORE_CA_FILE")]
    store_ca_file: Option<PathBuf>,
    #[command(flatten)]
    token: TokenFlags,
}

/// A folder in which an installation is begun. What is not kept is taken away again, so that a second
/// try finds what the first one found.
struct Begun<'a> {
    folder: &'a Path,
    /// What was there before; nothing where the folder itself was not.
    before: Option<BTreeSet<OsString>>,
    keep: bool,
}

impl<'a> Begun<'a> {
    fn at(folder: &'a Path) -> Result<Self, std::io::Error> {
        let before = if folder.exists() { Some(names(folder)?) } else { None };
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder, before, keep: false })
    }
}

fn names(folder: &Path) -> Result<BTreeSet<OsString>, std::io::Error> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let before = self.before.clone().unwrap_or_default();
        for name in names(self.folder).unwrap_or_default().difference(&before) {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        if self.before.is_none() {
            let _ = std::fs::remove_dir(self.folder);
        }
    }
}

/// Sets an installation up. Nothing that exists is overwritten.
pub(crate) async fn run(args: &Init, cx: &Context) -> Result<(), Failure> {
    let public_url = check_public_url(&args.public_url).map_err(|detail| {
        Failure::usage(
            "the public URL cannot be used",
            &detail,
            "write it as `https://id.example.com`",
        )
    })?;
    accredit_domain::registry::organization::check_name(&args.org).map_err(|refusal| {
        Failure::usage("the organization's name cannot be used", &refusal.detail, &refusal.hint)
    })?;
    if args.own_ca {
        check_own_ca(&public_url).map_err(|(detail, hint)| {
            Failure::usage("the public URL cannot be used with `--own-ca`", &detail, hint)
        })?;
    }
    let place = place(args, cx)?;
    if place.file().is_none() && compose::holds_store(&place)? {
        return Err(Failure::new(
            Exit::Conflict,
            "exists",
            "there is an installation already",
            &format!("`{place}` holds a store"),
            "serve it with its configuration and root key, or name an empty database",
        ));
    }
    let config = args.data.join(FILE_NAME);
    for file in [FILE_NAME, ROOT_KEY_FILE_NAME, STORE_FILE_NAME] {
        let file = args.data.join(file);
        if file.exists() {
            return Err(Failure::new(
                Exit::Conflict,
                "exists",
                "there is an installation already",
                &format!("`{}` exists", file.display()),
                "choose another folder with `--data`",
            ));
        }
    }
    let failed = |error: std::io::Error| {
        let title = format!("the folder `{}` cannot be written", args.data.display());
        Failure::file(&title, &error, "choose another folder with `--data`")
    };
    let mut begun = Begun::at(&args.data).map_err(failed)?;
    let root_key = args.data.join(ROOT_KEY_FILE_NAME);
    root_key::make(&root_key)?;
    let token = args.token.token(cx)?;
    let composed = compose::compose(&place, &root_key, &public_url, token.as_ref()).await?;
    hardware::open(&composed).await?;
    let (created, operator) = compose::found_installation(&composed, &args.org).await?;
    composed.store.close();
    let text = format!(
        "# Accredit. Paths are relative to this file. `accredit serve --help` tells more.\n\
         public_url = {}\n\
         listen = {}\n\
         root_key_file = \"{ROOT_KEY_FILE_NAME}\"\n\
         {}\
         {}\
         # TLS is needed to listen anywhere but on loopback:\n\
         {}",
        toml::Value::String(public_url.clone()),
        toml::Value::String(args.listen.clone()),
        store_lines(args, &place).map_err(failed)?,
        token_lines(token.as_ref()).map_err(failed)?,
        tls_lines(args),
    );
    std::fs::write(&config, text).map_err(failed)?;
    begun.keep = true;
    let token = created.admin_token.expose();
    if cx.out.is_json() {
        let made = json!({
            "config": config,
            "root_key_file": root_key,
            "url": public_url,
            "issuer": created.organization.issuer,
            "org": args.org,
            "admin_token": token,
            "operator_token": operator.expose(),
        });
        return line(&made.to_string());
    }
    cx.out.say(&format!("configuration   {}", config.display()));
    cx.out
        .say(&format!("root key        {}  (keep a copy apart from backups)", root_key.display()));
    cx.out.say(&format!("issuer          {}", created.organization.issuer));
    cx.out.say("the keys are shown this once; the first is that of the organization's owner:");
    line(&format!("export ACCREDIT_URL={public_url}"))?;
    line(&format!("export ACCREDIT_TOKEN={token}"))?;
    cx.out.say("that of the installation's operator, who creates, stops and starts organizations:");
    line(&format!("export ACCREDIT_OPERATOR_TOKEN={}", operator.expose()))?;
    cx.out.say(&format!("next: accredit serve --config {}", config.display()));
    Ok(())
}

/// Where the store is to be.
fn place(args: &Init, cx: &Context) -> Result<Place, Failure> {
    let login = Login {
        password_file: args.store_password_file.as_deref(),
        password: cx.around.store_password.as_ref(),
        authorities: args.store_ca_file.as_deref(),
    };
    let place = match args.store.as_deref() {
        None => login.reach_file(args.data.join(STORE_FILE_NAME)),
        Some(text) if !Target::is_meant(text) => {
            let hint = "leave `--store` out: a file is in the data folder";
            Err(NoStore::Written("it names no database".to_owned(), hint))
        }
        Some(text) => login.reach(text, Path::new("")),
    };
    place.map_err(|failure| match failure {
        NoStore::Written(detail, hint) => Failure::usage("the store cannot be used", &detail, hint),
        NoStore::Password(failure) => failure,
    })
}

/// What the configuration says of TLS.
fn tls_lines(args: &Init) -> &'static str {
    if args.own_ca {
        "[tls]\nown_ca = true\n"
    } else {
        "# [tls]\n# certificate_file = \"tls.pem\"\n# key_file = \"tls.key\"\n\
         # Or, by an authority of its own, whose roots `accredit tls bundle` prints:\n# own_ca = true\n"
    }
}

/// What the configuration says of a token; paths as they are from anywhere.
fn token_lines(token: Option<&Pkcs11>) -> Result<String, std::io::Error> {
    let Some(token) = token else { return Ok(String::new()) };
    let text = |text: String| toml::Value::String(text).to_string();
    let path = |path: &Path| {
        Ok::<_, std::io::Error>(text(std::path::absolute(path)?.display().to_string()))
    };
    let mut lines = format!(
        "pkcs11.module = {}\npkcs11.token = {}\npkcs11.purposes = {}\n",
        path(&token.module)?,
        text(token.token.clone()),
        text(token.purposes_text()),
    );
    if let Some(file) = &token.pin_file {
        lines = format!("{lines}pkcs11.pin_file = {}\n", path(file)?);
    }
    Ok(lines)
}

/// What the configuration says of a store that is a database; paths as they are from anywhere.
fn store_lines(args: &Init, place: &Place) -> Result<String, std::io::Error> {
    if place.file().is_some() {
        return Ok(String::new());
    }
    let mut lines = format!("store = {}\n", toml::Value::String(place.to_string()));
    let files = [
        ("store_password_file", &args.store_password_file),
        ("store_ca_file", &args.store_ca_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            let file = std::path::absolute(file)?.display().to_string();
            lines = format!("{lines}{key} = {}\n", toml::Value::String(file));
        }
    }
    Ok(lines)
}
