//! A server's configuration: `accredit.toml`, overridden by the environment, then by flags.
//!
//! Everything is checked here, before a socket is bound. Secrets are named by file and never
//! stand in it. An unknown key is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::client_settings::Surroundings;
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

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    public_url: String,
    listen: Option<String>,
    data: Option<PathBuf>,
    root_key_file: Option<PathBuf>,
    tls: Option<WrittenTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTls {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the installation is reached, without a trailing slash.
    pub(crate) public_url: String,
    /// The address to bind.
    pub(crate) listen: SocketAddr,
    /// The folder of the store.
    pub(crate) data: PathBuf,
    /// The file with the root key.
    pub(crate) root_key_file: PathBuf,
    /// Certificate chain and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
}

fn wrong(file: &Path, detail: &str, hint: &str) -> Failure {
    let title = format!("the configuration `{}` cannot be used", file.display());
    Failure::new(Exit::Usage, "configuration", &title, detail, hint)
}

impl Settings {
    /// Reads a file; paths in it are relative to its folder.
    pub(crate) fn read(file: &Path, around: &Surroundings) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::file(
                &format!("the configuration `{}` cannot be read", file.display()),
                &error,
                "create one with `accredit init`",
            )
        })?;
        let written: Written = toml::from_str(&text).map_err(|error| {
            wrong(
                file,
                error.to_string().trim_end(),
                "known keys: public_url, listen, data, root_key_file, tls.certificate_file, \
                 tls.key_file",
            )
        })?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let public_url = around.public_url.clone().unwrap_or(written.public_url);
        let public_url = check_public_url(&public_url)
            .map_err(|detail| wrong(file, &detail, "write it as `https://id.example.com`"))?;
        let listen = around.listen.clone().or(written.listen);
        let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let listen: SocketAddr = listen.parse().map_err(|_| {
            wrong(
                file,
                &format!("`listen`: `{listen}` is no address"),
                "write it as `0.0.0.0:8443`",
            )
        })?;
        let tls =
            written.tls.map(|tls| (folder.join(tls.certificate_file), folder.join(tls.key_file)));
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(wrong(
                file,
                "plain HTTP is spoken on loopback only",
                "set tls.certificate_file and tls.key_file, or listen on 127.0.0.1 behind a proxy",
            ));
        }
        let data = around.data.clone().or(written.data).map(|data| folder.join(data));
        let data = data.unwrap_or_else(|| folder.to_path_buf());
        let root_key_file = around.root_key_file.clone().or(written.root_key_file);
        let root_key_file =
            root_key_file.map_or_else(|| data.join(ROOT_KEY_FILE_NAME), |key| folder.join(key));
        Ok(Self { public_url, listen, data, root_key_file, tls })
    }

    /// The store's file.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.data.join(STORE_FILE_NAME)
    }
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
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE_NAME);
        std::fs::write(&file, text).expect("a file");
        Settings::read(&file, &Surroundings::default())
    }

    #[test]
    fn a_minimal_file_has_safe_defaults() {
        let settings = read("public_url = \"https://id.example.com/\"\n").expect("settings");
        assert_eq!(settings.public_url, "https://id.example.com");
        assert!(settings.listen.ip().is_loopback());
        assert!(settings.root_key_file.ends_with(ROOT_KEY_FILE_NAME));
    }

    #[test]
    fn an_unknown_key_and_an_unsafe_listener_are_refused() {
        let unknown = read("public_url = \"https://a.example\"\nlissten = \"x\"\n");
        assert!(unknown.expect_err("refused").detail.contains("lissten"));
        let plain = read("public_url = \"https://a.example\"\nlisten = \"0.0.0.0:80\"\n");
        assert!(plain.expect_err("refused").detail.contains("loopback"));
        for url in ["http://id.example.com", "ftp://x", "https://u@x.example", "https://x/?q", "x"]
        {
            assert!(read(&format!("public_url = \"{url}\"\n")).is_err(), "{url}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE_NAME);
        std::fs::write(&file, "public_url = \"https://a.example\"\n").expect("a file");
        let around = Surroundings {
            listen: Some("127.0.0.1:9".to_owned()),
            public_url: Some("https://b.example".to_owned()),
            ..Surroundings::default()
        };
        let settings = Settings::read(&file, &around).expect("settings");
        assert_eq!(
            (settings.listen.port(), settings.public_url.as_str()),
            (9, "https://b.example")
        );
    }
}
