//! A server's configuration: `accredit.toml`, overridden by the environment, then by flags.
//!
//! Each setting is described once, in [`SETTINGS`]: what reads the file, the help and
//! `docs/guide/configuration.md` are made from it. Everything is checked here, before a socket is
//! bound. Secrets are named by file and never stand in it. An unknown key is an error.

pub(crate) mod pkcs11;
pub(crate) mod store;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use accredit_domain::issuance::possession::NoncePolicy;
use accredit_domain::limits::{LIMIT_REQUESTS_MAX, Rates};
use accredit_domain::registry::quota::{Counted, QUOTA_MAX, Quotas};
use accredit_domain::view::VIEW_AGE_MAX;
use accredit_server::certificates::ClientCertificates;
use accredit_server::tls::{self, MinVersion};
use accredit_store::place::Place;
use accredit_wire::client_cert::TrustedCertificates;
use accredit_wire::forwarded::{ForwardedHeader, Network, PROXIES_MAX, TrustedProxies};
use accredit_wire::x509::listener::Host;
use tracing_subscriber::filter::LevelFilter;

use self::pkcs11::{NoToken, Pkcs11};
use self::store::{Login, NoStore};
use self::written::Written;
use crate::client_settings::Surroundings;
use crate::duration;
use crate::errors::Failure;
use crate::exit::Exit;

/// Where a server listens where nobody says.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:8420";
/// The name of the configuration file in a data folder.
pub(crate) const FILE_NAME: &str = "accredit.toml";
/// The name of the root key's file in a data folder.
pub(crate) const ROOT_KEY_FILE_NAME: &str = "root.key";
/// The name of the store's file in a data folder.
pub(crate) const STORE_FILE_NAME: &str = "accredit.db";

/// The unit of a setting that is one or the other.
const YES_OR_NO: &str = "true or false";
/// What to do where TLS is needed.
const SET_TLS: &str = "set tls.certificate_file and tls.key_file, or tls.own_ca";

/// One setting, as it is written, read, shown and documented.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Its key in the file; a member of a table with a dot.
    pub(crate) key: &'static str,
    /// The variable of the environment that goes before the file.
    pub(crate) env: Option<&'static str>,
    /// The flag of `accredit serve` that goes before both.
    pub(crate) flag: Option<&'static str>,
    /// What holds where nobody says, or in brackets what that is.
    pub(crate) default: &'static str,
    /// What a value is, or its unit.
    pub(crate) unit: &'static str,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// Every setting.
pub(crate) const SETTINGS: [Setting; 37] = [
    Setting {
        key: "public_url",
        env: Some("ACCREDIT_PUBLIC_URL"),
        flag: None,
        default: "(none: it must be set)",
        unit: "URL",
        help: "Where the installation is reached; issuers are made from it, so it never changes",
    },
    Setting {
        key: "listen",
        env: Some("ACCREDIT_LISTEN"),
        flag: Some("--listen"),
        default: LISTEN_DEFAULT,
        unit: "address:port",
        help: "The address that the API listens on; without TLS it must be loopback",
    },
    Setting {
        key: "metrics_listen",
        env: Some("ACCREDIT_METRICS_LISTEN"),
        flag: Some("--metrics-listen"),
        default: "(off)",
        unit: "address:port",
        help: "The address of `GET /metrics`, plain HTTP without authentication: best 127.0.0.1:8421",
    },
    Setting {
        key: "data",
        env: Some("ACCREDIT_DATA"),
        flag: None,
        default: "(the folder of the file)",
        unit: "folder",
        help: "The folder of the store's file, and of copies while a backup is made",
    },
    Setting {
        key: "store",
        env: Some("ACCREDIT_STORE"),
        flag: Some("--store"),
        default: "(accredit.db in the data folder)",
        unit: "sqlite:FILE or postgres://USER@HOST:PORT/DATABASE",
        help: "The store; no password stands in it, and off this machine the server proves itself",
    },
    Setting {
        key: "store_password_file",
        env: Some("ACCREDIT_STORE_PASSWORD_FILE"),
        flag: Some("--store-password-file"),
        default: "(ACCREDIT_STORE_PASSWORD, or none)",
        unit: "file",
        help: "The database's password, one line, readable by its owner alone",
    },
    Setting {
        key: "store_ca_file",
        env: Some("ACCREDIT_STORE_CA_FILE"),
        flag: Some("--store-ca-file"),
        default: "(the public authorities)",
        unit: "file",
        help: "The authorities, PEM, that alone may vouch for the database's server",
    },
    Setting {
        key: "root_key_file",
        env: Some("ACCREDIT_ROOT_KEY_FILE"),
        flag: None,
        default: "(root.key in the data folder)",
        unit: "file",
        help: "The root key, 64 hexadecimal digits, readable by its owner alone",
    },
    Setting {
        key: "pkcs11.module",
        env: Some("ACCREDIT_PKCS11_MODULE"),
        flag: None,
        default: "(no token)",
        unit: "file",
        help: "The PKCS#11 library of the token in which signing keys are made that never leave it",
    },
    Setting {
        key: "pkcs11.token",
        env: Some("ACCREDIT_PKCS11_TOKEN"),
        flag: None,
        default: "(no token)",
        unit: "label",
        help: "The token's label",
    },
    Setting {
        key: "pkcs11.pin_file",
        env: Some("ACCREDIT_PKCS11_PIN_FILE"),
        flag: None,
        default: "(ACCREDIT_PKCS11_PIN)",
        unit: "file",
        help: "The token's user PIN, one line, readable by its owner alone",
    },
    Setting {
        key: "pkcs11.purposes",
        env: Some("ACCREDIT_PKCS11_PURPOSES"),
        flag: None,
        default: pkcs11::PURPOSES_DEFAULT,
        unit: "purposes of signing keys, separated by commas",
        help: "Which new keys are made in the token; those that are there stay where they are until \
               they are rotated",
    },
    Setting {
        key: "pkcs11.missing_keys",
        env: Some("ACCREDIT_PKCS11_MISSING_KEYS"),
        flag: None,
        default: "refused",
        unit: "refused or revocable",
        help: "Whether the server starts where a key that is in use is not in the token: so that a lost \
               one can be revoked",
    },
    Setting {
        key: "log_level",
        env: Some("ACCREDIT_LOG_LEVEL"),
        flag: None,
        default: "info",
        unit: "error, warn, info or debug",
        help: "What the log tells; with debug a line for every request",
    },
    Setting {
        key: "tls.certificate_file",
        env: None,
        flag: None,
        default: "(no TLS)",
        unit: "file",
        help: "The certificate chain, PEM; needed to listen anywhere but on loopback",
    },
    Setting {
        key: "tls.key_file",
        env: None,
        flag: None,
        default: "(no TLS)",
        unit: "file",
        help: "The certificate's private key, PEM",
    },
    Setting {
        key: "tls.own_ca",
        env: None,
        flag: None,
        default: "false",
        unit: YES_OR_NO,
        help: "Whether the certificate is of the installation's own authority, in the place of files: \
               `accredit tls bundle` prints what clients are to trust",
    },
    Setting {
        key: "tls.client_certificates",
        env: None,
        flag: None,
        default: "ignored",
        unit: "ignored or asked",
        help: "Whether clients are asked for a certificate, by which they are known and to which their \
               tokens are bound (RFC 8705)",
    },
    Setting {
        key: "tls.min_version",
        env: None,
        flag: None,
        default: "1.2",
        unit: "1.2 or 1.3",
        help: "The oldest version of TLS that is spoken",
    },
    Setting {
        key: "limits.client",
        env: None,
        flag: None,
        default: "off",
        unit: "requests a minute, or off",
        help: "Requests of one OAuth client to the token, introspection and revocation endpoints",
    },
    Setting {
        key: "limits.failures",
        env: None,
        flag: None,
        default: "6000",
        unit: "requests a minute, or off",
        help: "Failed authentications under one claimed client from one network, before it must wait",
    },
    Setting {
        key: "limits.organization",
        env: None,
        flag: None,
        default: "600000",
        unit: "requests a minute, or off",
        help: "Requests of one organization's administrators together to the admin API",
    },
    Setting {
        key: "limits.agents_max",
        env: None,
        flag: None,
        default: "2000000",
        unit: "number, or off",
        help: "Agents of one organization, decommissioned ones included",
    },
    Setting {
        key: "limits.persons_max",
        env: None,
        flag: None,
        default: "1000000",
        unit: "number, or off",
        help: "Persons of one organization",
    },
    Setting {
        key: "limits.resources_max",
        env: None,
        flag: None,
        default: "10000",
        unit: "number, or off",
        help: "Resources of one organization",
    },
    Setting {
        key: "limits.instances_max",
        env: None,
        flag: None,
        default: "2000000",
        unit: "number, or off",
        help: "Live instances of all agents of one organization",
    },
    Setting {
        key: "limits.credentials_max",
        env: None,
        flag: None,
        default: "4000000",
        unit: "number, or off",
        help: "Live secrets and public keys of agents, instances and resources of one organization",
    },
    Setting {
        key: "limits.admin_keys_max",
        env: None,
        flag: None,
        default: "1000",
        unit: "number, or off",
        help: "Live administrators' keys of one organization",
    },
    Setting {
        key: "limits.federations_max",
        env: None,
        flag: None,
        default: "100",
        unit: "number, or off",
        help: "Federations of one organization",
    },
    Setting {
        key: "limits.tasks_max",
        env: None,
        flag: None,
        default: "1000000",
        unit: "number, or off",
        help: "Tasks of one organization that are not over",
    },
    Setting {
        key: "proxies.trusted",
        env: Some("ACCREDIT_PROXIES_TRUSTED"),
        flag: None,
        default: "(none)",
        unit: "addresses and networks, separated by commas",
        help: "Proxies that are believed as to where a request came from: 127.0.0.1, 10.0.0.0/8",
    },
    Setting {
        key: "proxies.certificates",
        env: None,
        flag: None,
        default: "(none)",
        unit: "SHA-256 fingerprints, separated by commas",
        help: "Proxies that are believed as to their clients' certificates, by those that they show \
               themselves: they write `Client-Cert` (RFC 9440)",
    },
    Setting {
        key: "proxies.header",
        env: Some("ACCREDIT_PROXIES_HEADER"),
        flag: None,
        default: "x-forwarded-for",
        unit: "x-forwarded-for or forwarded",
        help: "The header to which those proxies add who came to them; the other one is not read",
    },
    Setting {
        key: "dpop.nonces",
        env: Some("ACCREDIT_DPOP_NONCES"),
        flag: None,
        default: "accepted",
        unit: "accepted or required",
        help: "Whether proofs of possession need a nonce of the server, at most five minutes old",
    },
    Setting {
        key: "view_age_max",
        env: Some("ACCREDIT_VIEW_AGE_MAX"),
        flag: None,
        default: "2s",
        unit: "duration, 1s to 30s",
        help: "How long a node that shares its store with others may not have heard from it and still answer",
    },
    Setting {
        key: "drill.every",
        env: None,
        flag: None,
        default: "off",
        unit: "duration such as 24h, or off",
        help: "How often a kill is drilled in each organization that a Verifier follows; its history is `accredit drill list`",
    },
    Setting {
        key: "outbound.loopback",
        env: Some("ACCREDIT_OUTBOUND_LOOPBACK"),
        flag: None,
        default: "(none)",
        unit: "address:port, more of them after commas",
        help: "Loopback addresses that key sets may be fetched from, also in plain HTTP; for trying",
    },
];

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file.
    File,
    /// Nobody said.
    Default,
}

impl Source {
    /// As it is shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the installation is reached, without a trailing slash.
    pub(crate) public_url: String,
    /// The address to bind.
    pub(crate) listen: SocketAddr,
    /// The address for metrics; nothing where they are off.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The folder of the store's file.
    pub(crate) data: PathBuf,
    /// Where the store is.
    pub(crate) store: Place,
    /// The file with the database's password.
    store_password_file: Option<PathBuf>,
    /// The file with the authorities for the database's server.
    store_ca_file: Option<PathBuf>,
    /// The file with the root key.
    pub(crate) root_key_file: PathBuf,
    /// The token in which keys are made, where there is one.
    pub(crate) pkcs11: Option<Pkcs11>,
    /// What the log tells.
    pub(crate) log_level: LevelFilter,
    /// Where the listener's certificate is from, where it speaks TLS.
    pub(crate) tls: Option<tls::Source>,
    /// The oldest version of TLS.
    pub(crate) min_version: MinVersion,
    /// Whether clients are asked for one of theirs.
    pub(crate) client_certificates: ClientCertificates,
    /// Loopback addresses that documents may be fetched from.
    pub(crate) outbound_loopback: Vec<SocketAddr>,
    /// How many requests one caller may send.
    pub(crate) limits: Rates,
    /// How much one organization may have.
    pub(crate) quotas: Quotas,
    /// Which proxies are believed.
    pub(crate) proxies: TrustedProxies,
    /// Which of them are believed as to their clients' certificates.
    pub(crate) certified_proxies: TrustedCertificates,
    /// Whether proofs of possession need a nonce.
    pub(crate) nonces: NoncePolicy,
    /// How long a node may not have heard from a store that it shares.
    pub(crate) view_age_max: Duration,
    /// How often a kill is drilled; nothing for never.
    pub(crate) drill_every: Option<Duration>,
    /// Every setting's value as it is used, and where it comes from.
    pub(crate) shown: Vec<(&'static Setting, String, Source)>,
}

fn wrong(file: &Path, detail: &str, hint: &str) -> Failure {
    let title = format!("the configuration `{}` cannot be used", file.display());
    Failure::new(Exit::Usage, "configuration", &title, detail, hint)
}

/// What was said of each setting, by whoever goes first.
struct Said(BTreeMap<&'static str, (String, Source)>);

impl Said {
    fn of(written: Written, around: &Surroundings, flags: &[(&'static str, String)]) -> Self {
        let mut said = BTreeMap::new();
        said.extend(written.0.into_iter().map(|(key, value)| (key, (value, Source::File))));
        let env = around.settings.iter();
        said.extend(env.map(|(key, value)| (*key, (value.clone(), Source::Environment))));
        said.extend(flags.iter().map(|(key, value)| (*key, (value.clone(), Source::Flag))));
        Self(said)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|(value, _)| value.as_str())
    }

    fn path(&self, key: &str, folder: &Path) -> Option<PathBuf> {
        self.value(key).map(|path| folder.join(path))
    }

    fn address(&self, key: &str, file: &Path) -> Result<Option<SocketAddr>, Failure> {
        let parse = |text: &str| {
            let detail = format!("`{key}`: `{text}` is no address");
            text.parse().map_err(|_| wrong(file, &detail, "write it as `127.0.0.1:8420`"))
        };
        self.value(key).map(parse).transpose()
    }
}

impl Settings {
    /// How the listener speaks TLS, where it does.
    pub(crate) fn listener_tls(&self) -> Option<tls::Settings> {
        self.tls.as_ref().map(|certificate| tls::Settings {
            certificate: certificate.clone(),
            min_version: self.min_version,
            of_clients: self.client_certificates,
        })
    }

    /// The files of the listener's certificate and of its key, where it is in files.
    pub(crate) fn tls_files(&self) -> Option<(&Path, &Path)> {
        match &self.tls {
            Some(tls::Source::Files { certificates, key }) => Some((certificates, key)),
            Some(tls::Source::OwnCa) | None => None,
        }
    }

    /// Reads a file; paths in it are relative to its folder.
    pub(crate) fn read(file: &Path, around: &Surroundings) -> Result<Self, Failure> {
        Self::read_with(file, around, &[])
    }

    /// Reads a file, with flags that go before it, by key.
    pub(crate) fn read_with(
        file: &Path,
        around: &Surroundings,
        flags: &[(&'static str, String)],
    ) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::file(
                &format!("the configuration `{}` cannot be read", file.display()),
                &error,
                "create one with `accredit init`",
            )
        })?;
        let written =
            Written::parse(&text).map_err(|(detail, hint)| wrong(file, &detail, &hint))?;
        let said = Said::of(written, around, flags);
        let folder = file.parent().unwrap_or(Path::new("."));
        let public_url = said.value("public_url").ok_or_else(|| {
            wrong(file, "`public_url` is not set", "write it as `https://id.example.com`")
        })?;
        let public_url = check_public_url(public_url)
            .map_err(|detail| wrong(file, &detail, "write it as `https://id.example.com`"))?;
        let listen = match said.address("listen", file)? {
            Some(listen) => listen,
            None => LISTEN_DEFAULT
                .parse()
                .map_err(|_| wrong(file, LISTEN_DEFAULT, "set `listen` to another address"))?,
        };
        let certificate = said.path("tls.certificate_file", folder);
        let files = (certificate, said.path("tls.key_file", folder));
        let tls = certificate_from(files, said.value("tls.own_ca"), &public_url)
            .map_err(|(detail, hint)| wrong(file, &detail, hint))?;
        let client_certificates = said.value("tls.client_certificates").unwrap_or("ignored");
        let client_certificates = of_clients(client_certificates)
            .map_err(|detail| wrong(file, &detail, "write ignored or asked"))?;
        let min_version = said.value("tls.min_version").unwrap_or("1.2");
        let min_version = oldest(min_version)
            .map_err(|detail| wrong(file, &detail, "write \"1.2\" or \"1.3\""))?;
        if tls.is_none() && client_certificates != ClientCertificates::Ignored {
            let detail = "nobody is asked for a certificate without TLS";
            return Err(wrong(file, detail, SET_TLS));
        }
        let certified_proxies = said.value("proxies.certificates").unwrap_or("");
        let certified_proxies = TrustedCertificates::parse(certified_proxies).map_err(|error| {
            let detail = format!("`proxies.certificates`: {error}");
            wrong(file, &detail, "write what `openssl x509 -fingerprint -sha256` prints")
        })?;
        if !certified_proxies.is_empty() && client_certificates == ClientCertificates::Ignored {
            let detail = "a proxy that is not asked for its certificate is never believed";
            return Err(wrong(file, detail, "set tls.client_certificates to asked"));
        }
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(wrong(
                file,
                "plain HTTP is spoken on loopback only",
                "set tls.certificate_file and tls.key_file, or tls.own_ca; or listen on 127.0.0.1 \
                 behind a proxy",
            ));
        }
        let data = said.path("data", folder).unwrap_or_else(|| folder.to_path_buf());
        let root_key_file = said.path("root_key_file", folder);
        let root_key_file = root_key_file.unwrap_or_else(|| data.join(ROOT_KEY_FILE_NAME));
        let (store_password_file, store_ca_file) =
            (said.path("store_password_file", folder), said.path("store_ca_file", folder));
        let login = Login {
            password_file: store_password_file.as_deref(),
            password: around.store_password.as_ref(),
            authorities: store_ca_file.as_deref(),
        };
        let store = match said.value("store") {
            None => login.reach_file(data.join(STORE_FILE_NAME)),
            Some(text) => login.reach(text, folder),
        };
        let mut settings = Self {
            store: store.map_err(|failure| match failure {
                NoStore::Written(detail, hint) => wrong(file, &format!("`store`: {detail}"), hint),
                NoStore::Password(failure) => failure,
            })?,
            store_password_file,
            store_ca_file,
            public_url,
            listen,
            metrics_listen: said.address("metrics_listen", file)?,
            data,
            root_key_file,
            pkcs11: Pkcs11::read(&said, folder, around).map_err(|failure| match failure {
                NoToken::Written(detail, hint) => wrong(file, &detail, hint),
                NoToken::Pin(failure) => *failure,
            })?,
            log_level: log_level(said.value("log_level").unwrap_or("info"))
                .map_err(|detail| wrong(file, &detail, "write error, warn, info or debug"))?,
            tls,
            min_version,
            client_certificates,
            outbound_loopback: loopback(said.value("outbound.loopback").unwrap_or("")).map_err(
                |detail| wrong(file, &detail, "write loopback addresses, as 127.0.0.1:9000"),
            )?,
            limits: rates(&said)
                .map_err(|detail| wrong(file, &detail, "write requests a minute, or `off`"))?,
            quotas: quotas(&said)
                .map_err(|detail| wrong(file, &detail, "write a number, or `off`"))?,
            certified_proxies,
            proxies: proxies(&said).map_err(|(detail, hint)| wrong(file, &detail, hint))?,
            nonces: nonces(said.value("dpop.nonces").unwrap_or("accepted"))
                .map_err(|detail| wrong(file, &detail, "write accepted or required"))?,
            view_age_max: view_age_max(&said)
                .map_err(|detail| wrong(file, &detail, "write `view_age_max` as 2s"))?,
            drill_every: drill_every(&said).map_err(|detail| {
                wrong(file, &detail, "write `drill.every` as 24h, at least 1m, or off")
            })?,
            shown: Vec::new(),
        };
        settings.shown = SETTINGS
            .iter()
            .map(|setting| {
                let source = said.0.get(setting.key).map_or(Source::Default, |(_, source)| *source);
                (setting, settings.shown_value(setting.key), source)
            })
            .collect();
        Ok(settings)
    }

    /// A setting's value as it is used.
    fn shown_value(&self, key: &str) -> String {
        let path = |path: &Path| path.display().to_string();
        match key {
            "public_url" => self.public_url.clone(),
            "listen" => self.listen.to_string(),
            "metrics_listen" => self.metrics_listen.map_or("off".to_owned(), |at| at.to_string()),
            "data" => path(&self.data),
            "store" => self.store.to_string(),
            "store_password_file" => {
                self.store_password_file.as_deref().map_or("none".to_owned(), path)
            }
            "store_ca_file" => self.store_ca_file.as_deref().map_or("none".to_owned(), path),
            "root_key_file" => path(&self.root_key_file),
            key if key.starts_with("pkcs11.") => pkcs11::shown(self.pkcs11.as_ref(), key),
            "log_level" => self.log_level.to_string(),
            "tls.certificate_file" => self.tls_files().map_or("none".to_owned(), |it| path(it.0)),
            "tls.own_ca" => (self.tls == Some(tls::Source::OwnCa)).to_string(),
            "tls.min_version" => self.min_version.as_str().to_owned(),
            "tls.client_certificates" => self.client_certificates.as_str().to_owned(),
            "outbound.loopback" if self.outbound_loopback.is_empty() => "none".to_owned(),
            "outbound.loopback" => {
                let all = self.outbound_loopback.iter().map(ToString::to_string);
                all.collect::<Vec<_>>().join(",")
            }
            "proxies.trusted" if self.proxies.networks.is_empty() => "none".to_owned(),
            "proxies.trusted" => {
                let all = self.proxies.networks.iter().map(ToString::to_string);
                all.collect::<Vec<_>>().join(",")
            }
            "view_age_max" => format!("{}s", self.view_age_max.as_secs()),
            "drill.every" => {
                self.drill_every.map_or("off".to_owned(), |every| format!("{}s", every.as_secs()))
            }
            "proxies.certificates" if self.certified_proxies.is_empty() => "none".to_owned(),
            "proxies.certificates" => self.certified_proxies.to_string(),
            "proxies.header" => self.proxies.header.name().to_owned(),
            "dpop.nonces" => self.nonces.as_str().to_owned(),
            "limits.client" => shown_max(self.limits.client.into()),
            "limits.failures" => shown_max(self.limits.failures.into()),
            "limits.organization" => shown_max(self.limits.organization.into()),
            "tls.key_file" => self.tls_files().map_or("none".to_owned(), |files| path(files.1)),
            _ => quota_of(key).map_or(String::new(), |counted| shown_max(self.quotas.of(counted))),
        }
    }

    /// The file with the database's password, where there is one.
    pub(crate) fn store_password_file(&self) -> Option<&Path> {
        self.store_password_file.as_deref()
    }
}

/// Loopback addresses, separated by commas.
pub(crate) fn loopback(text: &str) -> Result<Vec<SocketAddr>, String> {
    let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    each.map(|one| match one.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        _ => Err(format!("`outbound.loopback`: `{one}` is no loopback address with a port")),
    })
    .collect()
}

/// Where the listener's certificate is from; nothing where it speaks no TLS.
fn certificate_from(
    files: (Option<PathBuf>, Option<PathBuf>),
    own_ca: Option<&str>,
    public_url: &str,
) -> Result<Option<tls::Source>, (String, &'static str)> {
    let own_ca = match own_ca {
        None | Some("false") => false,
        Some("true") => true,
        Some(text) => {
            return Err((format!("`tls.own_ca`: `{text}` is neither"), "write true or false"));
        }
    };
    match (files, own_ca) {
        ((None, None), false) => Ok(None),
        ((Some(certificates), Some(key)), false) => {
            Ok(Some(tls::Source::Files { certificates, key }))
        }
        ((None, None), true) => {
            check_own_ca(public_url)?;
            Ok(Some(tls::Source::OwnCa))
        }
        (_, false) => {
            let detail = "a certificate and its key are set together or not at all".to_owned();
            Err((detail, SET_TLS))
        }
        (_, true) => {
            let detail = "the certificate is in files or of the own authority, not both".to_owned();
            Err((detail, "take tls.certificate_file and tls.key_file out, or tls.own_ca"))
        }
    }
}

/// Whether an authority of its own can be for the host of this URL.
pub(crate) fn check_own_ca(public_url: &str) -> Result<(), (String, &'static str)> {
    if !public_url.starts_with("https:") {
        let detail = format!("`tls.own_ca`: at `{public_url}` nobody speaks TLS");
        return Err((detail, "reach it at an https URL: begin a new store at one"));
    }
    Host::of_url(public_url).map(drop).map_err(|error| {
        let detail = format!("`tls.own_ca`: the host of `{public_url}` is {error}");
        (detail, "have a certificate of another authority in files")
    })
}

/// The oldest version of TLS.
fn oldest(text: &str) -> Result<MinVersion, String> {
    MinVersion::ALL
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or_else(|| format!("`tls.min_version`: `{text}` is neither"))
}

/// Whether clients are asked for a certificate.
fn of_clients(text: &str) -> Result<ClientCertificates, String> {
    ClientCertificates::ALL
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or_else(|| format!("`tls.client_certificates`: `{text}` is neither"))
}

/// Whether proofs of possession need a nonce.
pub(crate) fn nonces(text: &str) -> Result<NoncePolicy, String> {
    [NoncePolicy::Accepted, NoncePolicy::Required]
        .into_iter()
        .find(|policy| policy.as_str() == text)
        .ok_or_else(|| format!("`dpop.nonces`: `{text}` is neither"))
}

/// The longest time for which a node may not have heard from a store that it shares: what ended
/// meanwhile lives on there for as long.
const VIEW_AGE_LONGEST: Duration = Duration::from_secs(30);

/// How long a node may not have heard from a store that it shares.
fn view_age_max(said: &Said) -> Result<Duration, String> {
    let Some(text) = said.value("view_age_max") else { return Ok(VIEW_AGE_MAX) };
    let age = duration::parse(text).map_err(|error| format!("`view_age_max`: {error}"))?;
    if age > VIEW_AGE_LONGEST {
        let most = VIEW_AGE_LONGEST.as_secs();
        return Err(format!("`view_age_max`: `{text}` is longer than {most}s"));
    }
    Ok(age)
}

/// The shortest time between two drills: each leaves the tombstone of an agent.
const DRILL_EVERY_MIN: Duration = Duration::from_mins(1);

/// How often a kill is drilled.
fn drill_every(said: &Said) -> Result<Option<Duration>, String> {
    let Some(text) = said.value("drill.every").filter(|text| *text != "off") else {
        return Ok(None);
    };
    let every = duration::parse(text).map_err(|error| format!("`drill.every`: {error}"))?;
    if every < DRILL_EVERY_MIN {
        return Err(format!("`drill.every`: `{text}` is too often"));
    }
    Ok(Some(every))
}

/// The proxies that are believed.
fn proxies(said: &Said) -> Result<TrustedProxies, (String, &'static str)> {
    let text = said.value("proxies.trusted").unwrap_or("");
    let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let networks = each.map(|one| {
        let wrong = |error| (format!("`proxies.trusted`: `{one}`: {error}"), "write 10.0.0.0/8");
        one.parse::<Network>().map_err(wrong)
    });
    let networks: Vec<Network> = networks.collect::<Result<_, _>>()?;
    if networks.len() > PROXIES_MAX {
        let detail = format!("`proxies.trusted` has more than {PROXIES_MAX} networks");
        return Err((detail, "write larger networks"));
    }
    let name = said.value("proxies.header").unwrap_or(ForwardedHeader::default().name());
    let header = ForwardedHeader::ALL.into_iter().find(|header| header.name() == name);
    let header = header.ok_or_else(|| {
        (format!("`proxies.header`: `{name}` is none"), "write x-forwarded-for or forwarded")
    })?;
    Ok(TrustedProxies { networks, header })
}

/// The rates that were said.
fn rates(said: &Said) -> Result<Rates, String> {
    let rate = |key: &str, default: u32| match said.value(key) {
        None => Ok(default),
        Some("off") => Ok(0),
        Some(text) => match text.parse() {
            Ok(rate) if (1..=LIMIT_REQUESTS_MAX).contains(&rate) => Ok(rate),
            _ => Err(format!("`{key}`: `{text}` is not 1 to {LIMIT_REQUESTS_MAX}, and not `off`")),
        },
    };
    let default = Rates::default();
    Ok(Rates {
        client: rate("limits.client", default.client)?,
        failures: rate("limits.failures", default.failures)?,
        organization: rate("limits.organization", default.organization)?,
    })
}

/// What a setting of the form `limits.<counted>_max` is about.
fn quota_of(key: &str) -> Option<Counted> {
    let word = key.strip_prefix("limits.")?.strip_suffix("_max")?;
    Counted::ALL.into_iter().find(|counted| counted.as_str() == word)
}

/// The quotas that were said.
fn quotas(said: &Said) -> Result<Quotas, String> {
    let mut quotas = Quotas::default();
    let settings = SETTINGS.iter().filter_map(|setting| Some((setting, quota_of(setting.key)?)));
    for (setting, counted) in settings {
        let key = setting.key;
        let max = match said.value(key) {
            None => continue,
            Some("off") => 0,
            Some(text) => match text.parse() {
                Ok(max) if (1..=QUOTA_MAX).contains(&max) => max,
                _ => {
                    return Err(format!(
                        "`{key}`: `{text}` is not 1 to {QUOTA_MAX}, and not `off`"
                    ));
                }
            },
        };
        quotas = quotas.with(counted, max);
    }
    Ok(quotas)
}

fn shown_max(max: u64) -> String {
    if max == 0 { "off".to_owned() } else { max.to_string() }
}

/// The level of a log, by name.
fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        _ => Err(format!("`log_level`: `{text}` is none")),
    }
}

/// The settings below the help of the commands that read them.
pub(crate) fn help(examples: &str) -> String {
    let lines = SETTINGS.iter().map(|setting| {
        let env = setting.env.map(|env| format!(" [{env}]")).unwrap_or_default();
        format!("\n  {:<22}{} (default: {}){env}", setting.key, setting.help, setting.default)
    });
    lines.fold(format!("{examples}\n\nSettings:"), |text, line| text + &line)
}

/// Checks the URL that issuers are made from: https, or http on loopback; no query, no fragment,
/// no trailing slash.
pub(crate) fn check_public_url(url: &str) -> Result<String, String> {
    let uri: http::Uri = url.parse().map_err(|_| format!("`public_url`: `{url}` is no URL"))?;
    let host = uri.host().unwrap_or("");
    let loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if loopback => {}
        _ => return Err("`public_url` must be https, or http on loopback".to_owned()),
    }
    if host.is_empty() || uri.query().is_some() || url.contains(['#', '+', ' ', '@']) {
        return Err("`public_url` has no place for a query, a fragment or a user".to_owned());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
