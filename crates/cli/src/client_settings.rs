//! Where the client's settings come from: flag, then environment, then the user's file.
//!
//! The file is `$XDG_CONFIG_HOME/accredit/client.toml` (`~/.config` where that is not set) with
//! `url` and `token_file`. Absent on purpose: a token in it. This is the only file of the
//! client that reads the environment, once, at the start; a server's configuration is another
//! matter and another file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use accredit_wire::secret::Secret;
use serde::Deserialize;

use crate::args::GlobalFlags;
use crate::errors::Failure;
use crate::input;
use crate::settings::SETTINGS;

/// The variables that hold secrets, which no command of somebody else's is to find.
pub(crate) const SECRETS: [&str; 4] =
    ["ACCREDIT_TOKEN", "ACCREDIT_CLIENT_SECRET", "ACCREDIT_STORE_PASSWORD", "ACCREDIT_PKCS11_PIN"];

/// What the environment says, read once.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// `ACCREDIT_TOKEN`: an administrator's key.
    pub(crate) token: Option<Secret>,
    /// `ACCREDIT_CLIENT_SECRET`: an agent's secret, for `token get`.
    pub(crate) client_secret: Option<Secret>,
    /// `ACCREDIT_STORE_PASSWORD`: what a database is shown.
    pub(crate) store_password: Option<Secret>,
    /// `ACCREDIT_PKCS11_PIN`: what a token is shown.
    pub(crate) pkcs11_pin: Option<Secret>,
    /// `ACCREDIT_OUTPUT`, known before the command line is parsed.
    pub(crate) output: Option<String>,
    /// What a server's configuration is overridden with, by the setting's key.
    pub(crate) settings: BTreeMap<&'static str, String>,
    /// The folder of the user's configuration files.
    pub(crate) config_folder: Option<PathBuf>,
    /// Colour is not wanted: `NO_COLOR` is set or the terminal is `dumb`.
    pub(crate) colour_refused: bool,
    /// Colour is wanted also off a terminal: `CLICOLOR_FORCE`.
    pub(crate) colour_forced: bool,
    /// Nobody sits at the terminal: `CI` is set.
    pub(crate) unattended: bool,
    /// `NOTIFY_SOCKET`: where the service manager wants to be told of this process.
    pub(crate) service_manager: Option<OsString>,
    /// `CREDENTIALS_DIRECTORY`: where the service manager put secrets for this process alone.
    pub(crate) credentials: Option<PathBuf>,
}

impl Surroundings {
    /// The surroundings as `variable` gives them; an empty variable counts as absent.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            variable(name)
                .and_then(|value| value.into_string().ok())
                .filter(|text| !text.is_empty())
        };
        let folder =
            |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            token: text("ACCREDIT_TOKEN").map(Secret::new),
            client_secret: text("ACCREDIT_CLIENT_SECRET").map(Secret::new),
            store_password: text("ACCREDIT_STORE_PASSWORD").map(Secret::new),
            pkcs11_pin: text("ACCREDIT_PKCS11_PIN").map(Secret::new),
            output: text("ACCREDIT_OUTPUT"),
            settings: SETTINGS
                .iter()
                .filter_map(|setting| Some((setting.key, text(setting.env?)?)))
                .collect(),
            config_folder: folder("XDG_CONFIG_HOME")
                .or_else(|| folder("HOME").map(|home| home.join(".config"))),
            colour_refused: text("NO_COLOR").is_some() || text("TERM").as_deref() == Some("dumb"),
            colour_forced: text("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            unattended: text("CI").is_some_and(|value| value != "false" && value != "0"),
            service_manager: variable("NOTIFY_SOCKET").filter(|value| !value.is_empty()),
            credentials: folder("CREDENTIALS_DIRECTORY"),
        }
    }
}

/// What is needed to speak to a server.
#[derive(Debug)]
pub(crate) struct ClientSettings {
    /// The server's address, without a path's last slash.
    pub(crate) url: String,
    /// The administrator's key, where one was given.
    pub(crate) token: Option<Secret>,
}

/// The user's file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    url: Option<String>,
    token_file: Option<PathBuf>,
}

impl ClientSettings {
    /// The settings that hold for this command.
    pub(crate) fn resolve(flags: &GlobalFlags, around: &Surroundings) -> Result<Self, Failure> {
        let folder = around.config_folder.as_ref().map(|folder| folder.join("accredit"));
        let file = match &folder {
            Some(folder) => read_file(&folder.join("client.toml"))?,
            None => ClientFile::default(),
        };
        // clap has already put ACCREDIT_URL where there is no flag.
        let url = flags.url.clone().filter(|url| !url.is_empty()).or(file.url).ok_or_else(|| {
            Failure::usage(
                "no server is named",
                "neither --url nor ACCREDIT_URL is set, and there is no client.toml",
                "export ACCREDIT_URL=https://id.example (`accredit dev` prints the line to copy)",
            )
        })?;
        let token_file = || file.token_file.map(|path| folder.unwrap_or_default().join(path));
        let token = match (&flags.token_file, &around.token) {
            (Some(path), _) => Some(input::secret(path)?),
            (None, Some(token)) => Some(token.clone()),
            (None, None) => token_file().map(|path| input::secret(&path)).transpose()?,
        };
        Ok(Self { url: checked_url(&url)?, token })
    }
}

fn read_file(path: &Path) -> Result<ClientFile, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ClientFile::default());
        }
        Err(error) => {
            let what = format!("`{}` could not be read", path.display());
            return Err(Failure::file(&what, &error, "check its permissions, or remove it"));
        }
    };
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Failure::usage(
            &format!("`{}`, line {line}, is not as expected", path.display()),
            error.message(),
            "it takes `url` and `token_file`, nothing else",
        )
    })
}

/// The server's address, checked: `https`, or `http` to this machine, and nothing in it that
/// does not belong there.
pub(crate) fn checked_url(url: &str) -> Result<String, Failure> {
    let wrong = |detail: &str, hint: &str| {
        Err(Failure::usage(&format!("`{url}` cannot be the server's address"), detail, hint))
    };
    let Ok(uri) = url.parse::<http::Uri>() else {
        return wrong("it is not a URL", "write it like https://id.example");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return wrong("its scheme or host is missing", "write it like https://id.example");
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(Failure::usage(
            "the server's address holds more than an address",
            "a name, password or query does not belong there",
            "write it like https://id.example",
        ));
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(authority.host()) => {}
        "http" => {
            return wrong(
                "plain http would send the key in clear",
                "use https; plain http is for 127.0.0.1 and localhost only",
            );
        }
        _ => return wrong("its scheme is not http or https", "write it like https://id.example"),
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn around(pairs: &[(&str, &str)]) -> Surroundings {
        Surroundings::read(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a path");
        std::fs::create_dir(folder.path().join("accredit")).expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join("accredit").join(name), text).expect("written");
        };
        write("client.toml", "url = \"https://file.example/\"\ntoken_file = \"key\"\n");
        write("key", "from-file\n");
        write("other", "from-flag\n");

        let mut flags = GlobalFlags::default();
        let home = ("XDG_CONFIG_HOME", path);
        let file = ClientSettings::resolve(&flags, &around(&[home])).expect("settings");
        assert_eq!(file.url, "https://file.example");
        assert_eq!(file.token.expect("a token").expose(), "from-file");

        let env = around(&[home, ("ACCREDIT_TOKEN", "from-env")]);
        let found = ClientSettings::resolve(&flags, &env).expect("settings");
        assert_eq!(found.token.expect("a token").expose(), "from-env");

        flags.token_file = Some(folder.path().join("accredit").join("other"));
        flags.url = Some("http://127.0.0.1:8420".into());
        let found = ClientSettings::resolve(&flags, &env).expect("settings");
        assert_eq!(found.token.expect("a token").expose(), "from-flag");
        assert_eq!(found.url, "http://127.0.0.1:8420");
    }

    #[test]
    fn a_file_with_an_unknown_member_is_refused_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("accredit")).expect("a folder");
        let path = folder.path().join("accredit").join("client.toml");
        std::fs::write(path, "url = \"https://x.example\"\ntoken = \"acr\"\n").expect("written");
        let home = around(&[("XDG_CONFIG_HOME", folder.path().to_str().expect("a path"))]);
        let failure = ClientSettings::resolve(&GlobalFlags::default(), &home).expect_err("refused");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.title.contains("line 2"), "{failure:?}");
    }

    #[test]
    fn without_a_server_the_hint_is_the_line_to_copy() {
        let failure =
            ClientSettings::resolve(&GlobalFlags::default(), &around(&[])).expect_err("no url");
        assert!(failure.hint.starts_with("export ACCREDIT_URL="));
    }

    #[test]
    fn a_key_is_never_sent_in_clear_to_another_machine() {
        for good in
            ["https://id.example/", "http://127.0.0.1:8420", "http://[::1]:1", "http://localhost:1"]
        {
            assert!(checked_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "id.example",
            "ftp://id.example",
            "https://me:pw@id.example",
            "https://id.example/?a=b",
            "",
        ] {
            let failure = checked_url(bad).expect_err(bad);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(!format!("{failure:?}").contains("pw"), "a password is repeated");
        }
    }

    #[test]
    fn colour_follows_the_environment() {
        assert!(around(&[("NO_COLOR", "1")]).colour_refused);
        assert!(!around(&[("NO_COLOR", "")]).colour_refused);
        assert!(around(&[("TERM", "dumb")]).colour_refused);
        assert!(around(&[("CLICOLOR_FORCE", "1")]).colour_forced);
        assert!(!around(&[("CLICOLOR_FORCE", "0")]).colour_forced);
        assert!(around(&[("CI", "true")]).unattended);
        assert!(!around(&[("CI", "false")]).unattended);
    }
}
