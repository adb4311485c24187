//! Selectors: what a node saw of a process and says of it (`docs/formats.md`), and what a rule demands of that.
//!
//! One closed list of names, each with a form of its values: whoever vouches and whoever decides read the
//! same list, so that what one says means the same to the other. Values are compared whole. A value has
//! one spelling: a path has no `..`, a number no leading zero, a digest no upper-case letter.
//!
//! Absent on purpose: patterns, names of users and groups (another machine may give the same number
//! another), and command lines, environments and process names, which a process chooses itself.

use std::collections::BTreeMap;
use std::fmt;

use crate::json::Json;

/// The longest value, in bytes.
pub const SELECTOR_BYTES_MAX: usize = 1024;
/// The longest JSON of all selectors of a process, in bytes.
pub const SELECTORS_BYTES_MAX: usize = 12 * 1024;

/// What a node can say of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The user that it runs as, by number.
    Uid,
    /// Its group, by number.
    Gid,
    /// Its executable, as the kernel names it.
    Path,
    /// SHA-256 of its executable, lower-case hexadecimal.
    Sha256,
    /// The systemd unit that it runs in.
    SystemdUnit,
    /// Its control group.
    Cgroup,
    /// The container that it runs in.
    ContainerId,
    /// The Kubernetes pod that it runs in.
    PodUid,
    /// Which interpreter its executable is. Only said where it is one.
    Interpreter,
}

impl Selector {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Uid,
        Self::Gid,
        Self::Path,
        Self::Sha256,
        Self::SystemdUnit,
        Self::Cgroup,
        Self::ContainerId,
        Self::PodUid,
        Self::Interpreter,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Path => "path",
            Self::Sha256 => "sha256",
            Self::SystemdUnit => "systemd_unit",
            Self::Cgroup => "cgroup",
            Self::ContainerId => "container_id",
            Self::PodUid => "pod_uid",
            Self::Interpreter => "interpreter",
        }
    }

    /// From how it is written.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// Whether it says where the process was put by whoever runs the machine, whatever program it is.
    pub const fn is_place(self) -> bool {
        matches!(self, Self::SystemdUnit | Self::Cgroup | Self::ContainerId | Self::PodUid)
    }

    /// What its values are.
    const fn form(self) -> &'static str {
        match self {
            Self::Uid | Self::Gid => "a number below 4294967295, without leading zeros",
            Self::Path => "an absolute path without `.`, `..` and double slashes",
            Self::Cgroup => "the path of a control group, without `.`, `..` and double slashes",
            Self::Sha256 | Self::ContainerId => "64 lower-case hexadecimal digits",
            Self::SystemdUnit => "the name of a unit with its kind, such as `planner.service`",
            Self::PodUid => "a UUID in lower case, or 32 hexadecimal digits of a static pod",
            Self::Interpreter => "the name of a known interpreter, such as `python`",
        }
    }

    /// Whether a text can be its value.
    fn takes(self, value: &str) -> bool {
        (1..=SELECTOR_BYTES_MAX).contains(&value.len())
            && match self {
                Self::Uid | Self::Gid => is_number(value),
                Self::Path => is_normal(value) && value.len() > 1,
                Self::Cgroup => is_normal(value),
                Self::Sha256 | Self::ContainerId => is_hex(value, 64),
                Self::SystemdUnit => is_unit(value),
                Self::PodUid => is_uuid(value) || is_hex(value, 32),
                Self::Interpreter => INTERPRETERS.contains(&value),
            }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `-1` is no user: the kernel takes it for "leave it as it is".
fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number != u32::MAX && number.to_string() == text)
}

fn is_normal(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let is_step = |step: &str| !step.is_empty() && step != "." && step != "..";
    !path.chars().any(char::is_control) && (rest.is_empty() || rest.split('/').all(is_step))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_uuid(text: &str) -> bool {
    let mut groups = text.split('-');
    [8, 4, 4, 4, 12].into_iter().all(|digits| groups.next().is_some_and(|one| is_hex(one, digits)))
        && groups.next().is_none()
}

/// systemd.unit(5): what unit names are made of, and no longer than they may be.
fn is_unit(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let has_kind = text.rsplit_once('.').is_some_and(|(name, kind)| {
        !name.is_empty() && matches!(kind, "service" | "scope" | "slice")
    });
    text.len() <= 255 && text.bytes().all(is_letter) && has_kind
}

/// Programs that run whatever they are given: which of these runs says nothing about what runs.
pub const INTERPRETERS: [&str; 42] = [
    "ash", "awk", "bash", "bun", "busybox", "csh", "dash", "deno", "dotnet", "elixir", "env",
    "erl", "escript", "fish", "gawk", "groovy", "guile", "java", "julia", "ksh", "lua", "luajit",
    "mawk", "node", "nodejs", "npx", "perl", "php", "php-cgi", "php-fpm", "pwsh", "pypy", "python",
    "rscript", "ruby", "sh", "tclsh", "tsx", "uv", "uvx", "wish", "zsh",
];

/// The interpreter that an executable of this name is: the name without what stands behind it for a
/// version or a build, `python` for `python3.12`.
pub fn interpreter_of(file_name: &str) -> Option<&'static str> {
    let name = file_name.to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    // Behind the name stands nothing, or a number with whatever comes then: `python3.13t`. `node_exporter`
    // is another program.
    let begins = |known: &&str| {
        name.strip_prefix(known).is_some_and(|rest| {
            let version = rest.strip_prefix(['-', '.', '_']).unwrap_or(rest);
            rest.is_empty() || version.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    INTERPRETERS.into_iter().find(begins)
}

/// What is said of one process, or demanded of one: at least one selector, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selectors(BTreeMap<Selector, String>);

/// Why something is no set of selectors. It repeats a name that it does not know, and no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorsError {
    /// Not a JSON object of strings, or too long a one.
    Form,
    /// There is none.
    None,
    /// A name that is not on the list.
    Unknown(String),
    /// A value that its selector does not have.
    Value(Selector),
}

/// Characters of an unknown name that are told.
const NAME_TOLD_MAX: usize = 32;

impl fmt::Display for SelectorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(
                f,
                "selectors are a JSON object of texts, of at most {SELECTORS_BYTES_MAX} bytes"
            ),
            Self::None => f.write_str("there is no selector"),
            Self::Unknown(name) => {
                let names: Vec<_> = Selector::ALL.iter().map(|one| one.as_str()).collect();
                write!(f, "`{name}` is no selector; there are: {}", names.join(", "))
            }
            Self::Value(selector) => write!(f, "`{selector}` is {}", selector.form()),
        }
    }
}

impl std::error::Error for SelectorsError {}

impl Selectors {
    /// Checks names and values.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SelectorsError> {
        let mut all = BTreeMap::new();
        for (name, value) in pairs {
            let selector = Selector::parse(name).ok_or_else(|| {
                let told = name.chars().filter(|c| !c.is_control()).take(NAME_TOLD_MAX);
                SelectorsError::Unknown(told.collect())
            })?;
            if !selector.takes(value) || all.insert(selector, value.to_owned()).is_some() {
                return Err(SelectorsError::Value(selector));
            }
        }
        if all.is_empty() { Err(SelectorsError::None) } else { Ok(Self(all)) }
    }

    /// Reads a JSON object of texts.
    pub fn parse(json: &str) -> Result<Self, SelectorsError> {
        let read = Json::parse(json.as_bytes(), SELECTORS_BYTES_MAX);
        let read = read.map_err(|_| SelectorsError::Form)?;
        let members = read.as_object().ok_or(SelectorsError::Form)?;
        let pairs = members.iter().map(|(name, value)| Some((name.as_ref(), value.as_str()?)));
        Self::new(pairs.collect::<Option<Vec<_>>>().ok_or(SelectorsError::Form)?)
    }

    /// The value of a selector.
    pub fn get(&self, selector: Selector) -> Option<&str> {
        self.0.get(&selector).map(String::as_str)
    }

    /// Each of them, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (Selector, &str)> {
        self.0.iter().map(|(selector, value)| (*selector, value.as_str()))
    }

    /// Whether one of them says where the process was put.
    pub fn has_place(&self) -> bool {
        self.0.keys().any(|one| one.is_place())
    }

    /// Whether all of these are said there, exactly so. What runs an interpreter is told by where it was
    /// put and by nothing else: these must say that, too.
    pub fn match_process(&self, said: &Self) -> bool {
        self.iter().all(|(selector, value)| said.get(selector) == Some(value))
            && (said.get(Selector::Interpreter).is_none() || self.has_place())
    }

    /// As JSON, an object of texts.
    pub fn to_json(&self) -> String {
        let members: serde_json::Map<String, serde_json::Value> =
            self.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
        serde_json::Value::Object(members).to_string()
    }
}

impl serde::Serialize for Selectors {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(selector, value)| (selector.as_str(), value)))
    }
}

impl<'de> serde::Deserialize<'de> for Selectors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = BTreeMap::<String, String>::deserialize(deserializer)?;
        let pairs = read.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self::new(pairs).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn of(pairs: &[(&str, &str)]) -> Selectors {
        Selectors::new(pairs.iter().copied()).expect("selectors")
    }

    #[test]
    fn a_value_has_one_spelling() {
        for (name, wrong) in [
            ("uid", "-1"),
            ("uid", "01"),
            ("uid", "+1"),
            ("uid", "1 "),
            ("uid", "root"),
            ("uid", "4294967295"),
            ("uid", "4294967296"),
            ("gid", ""),
            ("path", "opt/planner"),
            ("path", "/opt/../planner"),
            ("path", "/opt//planner"),
            ("path", "/opt/./planner"),
            ("path", "/opt/planner/"),
            ("path", "/"),
            ("path", "/opt/pla\nnner"),
            ("path", "/opt/planner\0"),
            ("sha256", &DIGEST.to_uppercase()),
            ("sha256", &DIGEST[1..]),
            ("sha256", &format!("{DIGEST}0")),
            ("systemd_unit", "planner"),
            ("systemd_unit", "system.slice/planner.service"),
            ("systemd_unit", ".service"),
            ("systemd_unit", "*.service"),
            ("cgroup", "system.slice"),
            ("cgroup", "/a/../b"),
            ("container_id", "9f86d081884c"),
            ("pod_uid", "4E5D9C7A-1B2C-4D3E-8F90-123456789ABC"),
            ("pod_uid", "4e5d9c7a1b2c4d3e8f90-123456789abc"),
            ("interpreter", "planner"),
            ("interpreter", "python3"),
        ] {
            let found = Selectors::new([(name, wrong)]);
            let selector = Selector::parse(name).expect("a name");
            assert_eq!(found, Err(SelectorsError::Value(selector)), "{name}={wrong}");
        }
        for (name, right) in [
            ("uid", "0"),
            ("uid", "4294967294"),
            ("path", "/opt/planner/bin/planner"),
            ("path", "/opt/pl än (deleted)"),
            ("sha256", DIGEST),
            ("systemd_unit", "planner@a\\x2db.service"),
            ("cgroup", "/"),
            ("cgroup", "/system.slice/planner.service"),
            ("container_id", DIGEST),
            ("pod_uid", "4e5d9c7a-1b2c-4d3e-8f90-123456789abc"),
            ("pod_uid", "4e5d9c7a1b2c4d3e8f90123456789abc"),
            ("interpreter", "python"),
        ] {
            assert!(Selectors::new([(name, right)]).is_ok(), "{name}={right}");
        }
    }

    #[test]
    fn the_list_is_closed() {
        for wrong in ["", "user", "UID", "cmdline", "exe", "path "] {
            let found = Selectors::new([(wrong, "1")]);
            assert_eq!(found, Err(SelectorsError::Unknown(wrong.into())), "{wrong}");
        }
        assert_eq!(Selectors::new([]), Err(SelectorsError::None));
        for wrong in
            ["", "[]", "{\"uid\":1}", "{\"uid\":null}", "{\"uid\":\"1\"", "{\"uid\":[\"1\"]}"]
        {
            assert_eq!(Selectors::parse(wrong), Err(SelectorsError::Form), "{wrong}");
        }
        // Of two values nobody could tell which is meant.
        assert!(Selectors::parse(r#"{"uid":"1","uid":"2"}"#).is_err());
        assert_eq!(Selectors::parse("{}"), Err(SelectorsError::None));
        let long = format!("{{\"path\":\"/{}\"}}", "x".repeat(SELECTORS_BYTES_MAX));
        assert_eq!(Selectors::parse(&long), Err(SelectorsError::Form));
        let long = format!("{{\"path\":\"/{}\"}}", "x".repeat(SELECTOR_BYTES_MAX));
        assert_eq!(Selectors::parse(&long), Err(SelectorsError::Value(Selector::Path)));
    }

    #[test]
    fn interpreters_are_known_in_every_version() {
        for (file, name) in [
            ("python", "python"),
            ("python3", "python"),
            ("python3.12", "python"),
            ("python3.13t", "python"),
            ("python3-dbg", "python"),
            ("PYTHON.EXE", "python"),
            ("ruby-3.2", "ruby"),
            ("pypy3.10", "pypy"),
            ("node", "node"),
            ("nodejs", "nodejs"),
            ("Rscript", "rscript"),
            ("lua5.4", "lua"),
            ("php8.2", "php"),
            ("php-fpm8.2", "php-fpm"),
            ("tclsh8.6", "tclsh"),
            ("bash", "bash"),
            ("busybox", "busybox"),
        ] {
            assert_eq!(interpreter_of(file), Some(name), "{file}");
        }
        for file in [
            "planner",
            "pythonic",
            "noded",
            "node_exporter",
            "shell",
            "javac",
            "envoy",
            "",
            "3",
            ".sh",
        ] {
            assert_eq!(interpreter_of(file), None, "{file}");
        }
        let mut sorted = INTERPRETERS;
        sorted.sort_unstable();
        assert_eq!(sorted, INTERPRETERS);
    }

    #[test]
    fn what_is_demanded_must_be_said_exactly() {
        let rule = of(&[("path", "/opt/planner"), ("uid", "1200")]);
        let said = of(&[("path", "/opt/planner"), ("uid", "1200"), ("gid", "7")]);
        assert!(rule.match_process(&said));
        for wrong in [
            of(&[("path", "/opt/planner")]),
            of(&[("uid", "1200")]),
            of(&[("path", "/opt/planner"), ("gid", "1200")]),
            of(&[("path", "/opt/planner"), ("uid", "120")]),
            of(&[("path", "/opt/planner2"), ("uid", "1200")]),
            of(&[("path", "/OPT/planner"), ("uid", "1200")]),
        ] {
            assert!(!rule.match_process(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_interpreter_is_known_by_its_place_alone() {
        let copy = [("path", "/opt/planner"), ("sha256", DIGEST), ("uid", "1200")];
        let said =
            of(&[&copy[..], &[("interpreter", "python"), ("systemd_unit", "p.service")]].concat());
        assert!(!of(&copy).match_process(&said));
        assert!(!of(&[("interpreter", "python")]).match_process(&said));
        assert!(of(&[&copy[..], &[("systemd_unit", "p.service")]].concat()).match_process(&said));
        assert!(of(&[("systemd_unit", "p.service")]).match_process(&said));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", name in "[a-z_0-9]{0,12}", value in "\\PC{0,40}") {
            let _ = Selectors::parse(&text);
            let _ = Selectors::new([(name.as_str(), value.as_str())]);
            let _ = interpreter_of(&text);
        }

        /// Whatever is taken away from what is said, a rule that demands it does not match.
        #[test]
        fn a_rule_with_a_claim_missing_never_matches(uid in 0u32..9, gid in 0u32..9, drop in 0usize..3) {
            let (uid, gid) = (uid.to_string(), gid.to_string());
            let all = [("uid", uid.as_str()), ("gid", gid.as_str()), ("path", "/opt/planner")];
            let rule = of(&all);
            prop_assert!(rule.match_process(&of(&all)));
            let mut fewer = all.to_vec();
            fewer.remove(drop);
            prop_assert!(!rule.match_process(&of(&fewer)));
        }

        #[test]
        fn what_is_written_reads_back(path in "(/[a-z .]{1,8}){1,4}", uid in 0u32..u32::MAX) {
            let uid = uid.to_string();
            prop_assume!(is_normal(&path));
            let written = of(&[("path", &path), ("uid", &uid)]);
            prop_assert_eq!(Selectors::parse(&written.to_json()), Ok(written.clone()));
            let json = serde_json::to_string(&written).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Selectors>(&json).expect("selectors"), written);
        }
    }
}
