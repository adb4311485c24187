use std::fmt::Write as _;

use accredit_domain::registry::quota::Counted;
use accredit_wire::secret::Secret;

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
    assert_eq!(settings.metrics_listen, None, "off unless set");
    assert_eq!(settings.log_level, LevelFilter::INFO);
}

#[test]
fn an_unknown_key_and_an_unsafe_listener_are_refused() {
    let unknown = read("public_url = \"https://a.example\"\nlissten = \"x\"\n");
    let unknown = unknown.expect_err("refused");
    assert!(unknown.detail.contains("line 2") && unknown.detail.contains("lissten"));
    assert_eq!(&*unknown.hint, "did you mean `listen`?");
    let plain = read("public_url = \"https://a.example\"\nlisten = \"0.0.0.0:80\"\n");
    assert!(plain.expect_err("refused").detail.contains("loopback"));
    for url in ["http://id.example.com", "ftp://x", "https://u@x.example", "https://x/?q", "x"] {
        assert!(read(&format!("public_url = \"{url}\"\n")).is_err(), "{url}");
    }
    for line in [
        "listen = \"localhost\"",
        "metrics_listen = \"8421\"",
        "log_level = \"loud\"",
        "[tls]\nkey_file = \"x\"",
    ] {
        let text = format!("public_url = \"https://a.example\"\n{line}\n");
        assert_eq!(read(&text).expect_err(line).exit, Exit::Usage);
    }
    assert!(read("").expect_err("no URL").detail.contains("public_url"));
}

#[test]
fn the_listeners_certificate_is_in_files_or_of_the_own_authority() {
    let at = |url: &str, lines: &str| read(&format!("public_url = \"{url}\"\n{lines}\n"));
    let with = |lines: &str| at("https://a.example", lines);
    let own = with("listen = \"0.0.0.0:443\"\n[tls]\nown_ca = true").expect("settings");
    assert_eq!(own.tls, Some(tls::Source::OwnCa));
    assert_eq!((own.shown_value("tls.own_ca"), own.tls_files()), ("true".to_owned(), None));
    let files = "certificate_file = \"a\"\nkey_file = \"b\"";
    let read = with(&format!("[tls]\n{files}\nown_ca = false")).expect("settings");
    assert!(read.tls_files().is_some_and(|(certificate, _)| certificate.ends_with("a")));
    assert_eq!(with("[tls]\nown_ca = \"false\"").expect("settings").tls, None);
    for (wrong, says) in [
        (format!("[tls]\n{files}\nown_ca = true"), "not both"),
        ("[tls]\nkey_file = \"b\"\nown_ca = true".to_owned(), "not both"),
        ("[tls]\nown_ca = \"yes\"".to_owned(), "neither"),
        ("[tls]\nown_ca = 1".to_owned(), "no text"),
        ("listen = \"0.0.0.0:443\"\n[tls]\nown_ca = false".to_owned(), "loopback"),
    ] {
        let refused = with(&wrong).expect_err(&wrong);
        assert!(refused.detail.contains(says) && refused.exit == Exit::Usage, "{refused:?}");
    }
    // A host that no certificate can name, and one whom nobody asks for it.
    for url in ["https://a_b.example", "http://127.0.0.1:8420"] {
        let refused = at(url, "[tls]\nown_ca = true").expect_err(url);
        assert!(refused.detail.contains(url), "{refused:?}");
    }
}

#[test]
fn nonces_are_accepted_or_required() {
    let with = |line: &str| read(&format!("public_url = \"https://a.example\"\n{line}\n"));
    assert_eq!(with("").expect("settings").nonces, NoncePolicy::Accepted);
    let settings = with("[dpop]\nnonces = \"required\"").expect("settings");
    assert_eq!(settings.nonces, NoncePolicy::Required);
    assert_eq!(settings.shown_value("dpop.nonces"), "required");
    for wrong in ["nonces = \"off\"", "nonces = true", "nonce = \"required\""] {
        assert_eq!(with(&format!("[dpop]\n{wrong}")).expect_err(wrong).exit, Exit::Usage);
    }
}

#[test]
fn proxies_are_trusted_by_network_and_in_one_header() {
    let with =
        |lines: &str| read(&format!("public_url = \"https://a.example\"\n[proxies]\n{lines}"));
    let nobody = read("public_url = \"https://a.example\"\n").expect("settings").proxies;
    assert!(nobody.networks.is_empty(), "nobody, where it is not said");
    let settings = with("trusted = \"127.0.0.1, 10.0.0.0/8\"\n").expect("settings");
    let shown = |settings: &Settings, key| settings.shown_value(key);
    assert_eq!(shown(&settings, "proxies.trusted"), "127.0.0.1/32,10.0.0.0/8");
    assert_eq!(shown(&settings, "proxies.header"), "x-forwarded-for");
    let settings = with("trusted = \"::1\"\nheader = \"forwarded\"\n").expect("settings");
    assert_eq!(settings.proxies.header.name(), "forwarded");
    for wrong in [
        "trusted = \"proxy.example\"",
        "trusted = \"10.1.0.0/8\"",
        "trusted = \"*\"",
        "trusted = true",
        "header = \"x-real-ip\"",
    ] {
        assert_eq!(with(wrong).expect_err(wrong).exit, Exit::Usage, "{wrong}");
    }
    let many = vec!["10.0.0.1"; 65].join(",");
    assert!(with(&format!("trusted = \"{many}\"")).expect_err("refused").detail.contains("64"));
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(FILE_NAME);
    let text = "public_url = \"https://a.example\"\nlisten = \"127.0.0.1:7\"\ndata = \"d\"\n";
    std::fs::write(&file, text).expect("a file");
    let around = Surroundings::read(|name| match name {
        "ACCREDIT_LISTEN" => Some("127.0.0.1:9".into()),
        "ACCREDIT_METRICS_LISTEN" => Some("127.0.0.1:8".into()),
        "ACCREDIT_PUBLIC_URL" => Some("https://b.example".into()),
        _ => None,
    });
    let flags = [("listen", "127.0.0.1:11".to_owned())];
    let settings = Settings::read_with(&file, &around, &flags).expect("settings");
    assert_eq!((settings.listen.port(), settings.public_url.as_str()), (11, "https://b.example"));
    assert_eq!(settings.metrics_listen.expect("on").port(), 8);
    let store = folder.path().join("d").join(STORE_FILE_NAME);
    assert_eq!(settings.store.file(), Some(store.as_path()));
    let source = |key: &str| {
        let (.., source) = settings.shown.iter().find(|shown| shown.0.key == key).expect("shown");
        source.as_str()
    };
    let sources = ["listen", "metrics_listen", "data", "log_level"].map(source);
    assert_eq!(sources, ["flag", "environment", "file", "default"]);
    assert!(settings.shown.iter().all(|(_, value, _)| !value.is_empty()));
}

/// The page of the guide, as the table makes it.
fn page() -> String {
    let mut text = "# Configuration

`accredit serve --config FILE` reads a file like the one that `accredit init` writes: TOML, one
`key = \"value\"` a line. A flag goes before the environment, that before the file, that before the
default. Paths in the file are relative to its folder. An unknown key is an error.

`accredit config check --config FILE` reads it as the server would, with the files it names, and
starts nothing. `accredit config show --config FILE --sources` prints every setting with where its
value comes from.

Secrets are never settings: the root key and the TLS key are named by file.

| setting | unit | default | environment | flag | what it is for |
|---|---|---|---|---|---|
"
    .to_owned();
    for Setting { key, env, flag, default, unit, help } in &SETTINGS {
        let code = |name: Option<&str>| name.map(|name| format!("`{name}`")).unwrap_or_default();
        let (env, flag) = (code(*env), code(*flag));
        writeln!(text, "| `{key}` | {unit} | {default} | {env} | {flag} | {help} |").expect("text");
    }
    text.push_str(
        "\n`tls.certificate_file` is the member `certificate_file` of the table `[tls]`.\n",
    );
    text
}

#[test]
fn the_page_of_the_guide_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/configuration.md");
    if std::fs::read_to_string(&file).is_ok_and(|kept| kept == page()) {
        return;
    }
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::write(&file, page()).expect("a writable file");
    panic!("docs/guide/configuration.md was not current and has been rewritten: check it in");
}

#[test]
fn help_names_every_setting() {
    let help = help("Examples:");
    for setting in &SETTINGS {
        assert!(help.contains(setting.key) && help.contains(setting.help), "{}", setting.key);
    }
}

#[test]
fn quotas_are_numbers_or_off_and_the_defaults_are_the_documented_ones() {
    let head = "public_url = \"https://a.example\"\n[limits]\n";
    let defaults = read(head).expect("settings").quotas;
    for counted in Counted::ALL {
        let key = format!("limits.{}_max", counted.as_str());
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting");
        assert_eq!(setting.default, defaults.of(counted).to_string(), "{key}");
        assert_eq!(quota_of(&key), Some(counted));
    }
    let text = format!("{head}agents_max = 5\nadmin_keys_max = \"off\"\n");
    let quotas = read(&text).expect("settings").quotas;
    assert_eq!((quotas.of(Counted::Agents), quotas.of(Counted::AdminKeys)), (5, 0));
    for line in ["agents_max = 0", "agents_max = -1", "persons_max = \"many\"", "agent_max = 5"] {
        assert!(read(&format!("{head}{line}\n")).is_err(), "{line}");
    }
}

#[test]
fn limits_are_numbers_or_off_and_the_defaults_are_the_documented_ones() {
    let head = "public_url = \"https://a.example\"\n[limits]\n";
    let settings = read(head).expect("settings");
    for (key, rate) in [
        ("limits.client", settings.limits.client),
        ("limits.failures", settings.limits.failures),
        ("limits.organization", settings.limits.organization),
    ] {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting");
        assert_eq!(setting.default, shown_max(rate.into()), "{key}");
    }
    let text = format!("{head}client = 60000\nfailures = \"off\"\norganization = \"60\"\n");
    let limits = read(&text).expect("settings").limits;
    assert_eq!((limits.client, limits.failures, limits.organization), (60_000, 0, 60));
    for line in ["client = 0", "client = -1", "client = \"many\"", "client = 1.5", "client = 0x10"]
    {
        assert_eq!(read(&format!("{head}{line}\n")).expect_err(line).exit, Exit::Usage);
    }
}

#[test]
fn a_token_is_set_whole_or_not_at_all() {
    let around = |pin: Option<&str>| Surroundings {
        pkcs11_pin: pin.map(|pin| Secret::new(pin.to_owned())),
        ..Surroundings::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let with = |lines: &str, pin: Option<&str>| {
        let file = folder.path().join(FILE_NAME);
        let text = format!("public_url = \"https://a.example\"\n[pkcs11]\n{lines}\n");
        std::fs::write(&file, text).expect("written");
        Settings::read(&file, &around(pin))
    };
    let both = "module = \"m.so\"\ntoken = \"t\"";
    let token = with(both, Some("1234")).expect("settings").pkcs11.expect("a token");
    assert_eq!(token.module, folder.path().join("m.so"));
    assert_eq!((token.purposes_text().as_str(), token.starts_without), ("ca-root,ca", false));
    assert!(!format!("{token:?}").contains("1234"));
    let more = format!("{both}\npurposes = \" feed, ca\"\nmissing_keys = \"revocable\"");
    let token = with(&more, Some("1234")).expect("settings").pkcs11.expect("a token");
    assert_eq!((token.purposes_text().as_str(), token.starts_without), ("feed,ca", true));
    for (lines, pin, says) in [
        ("module = \"m.so\"", Some("1"), "not both"),
        ("token = \"t\"", Some("1"), "not both"),
        ("purposes = \"ca\"", None, "`pkcs11.purposes` is set"),
        (both, None, "PIN is not set"),
        ("module = \"m.so\"\ntoken = \"t\"\npurposes = \"cake\"", Some("1"), "`cake`"),
        ("module = \"m.so\"\ntoken = \"t\"\nmissing_keys = \"yes\"", Some("1"), "neither"),
        ("module = \"m.so\"\ntoken = \"t\"\npin_file = \"nowhere\"", Some("1"), "nowhere"),
    ] {
        let failure = with(lines, pin).expect_err(lines);
        let told = format!("{} {}", failure.title, failure.detail);
        assert!(told.contains(says), "{lines}: {told}");
    }
    // A PIN alone sets nothing.
    assert!(with("", Some("1234")).expect("settings").pkcs11.is_none());
}
