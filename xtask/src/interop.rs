//! `interop`: third-party OAuth, JOSE and log clients against the built binary.
//!
//! The clients are pinned in `interop/requirements.txt`, `alone.txt` and `package-lock.json` and live
//! in `.tools/interop`, which is not part of the repository. `interop/run.py` does the rest: it
//! starts the server, registers what the scripts need, runs them and ends the server.

use std::fs;
use std::path::Path;

use crate::run::{self, is_installed, missing};
use crate::{Answer, ambient, binary};

/// The files whose content decides whether the installed clients are the right ones.
const PINS: [&str; 4] = ["requirements.txt", "alone.txt", "package.json", "package-lock.json"];

/// Installs the clients where needed, builds the binary and runs every script.
pub(crate) fn run() -> Answer {
    for tool in ["python3", "node", "npm"] {
        if !is_installed(tool) {
            return missing(tool);
        }
    }
    let tools = ambient::root().join(".tools/interop");
    install(&tools)?;
    let (accredit, agents) = (binary::build()?, binary::example("two_agents")?);
    let mut script = run::command(tools.join("venv/bin/python"));
    script.arg("interop/run.py").arg("--accredit").arg(accredit);
    script.arg("--two-agents").arg(agents);
    script.arg("--npm").arg(tools.join("npm")).env("PYTHONDONTWRITEBYTECODE", "1");
    run::run(&mut script)
}

/// Brings the pinned clients into `tools`, unless the same pins were installed there before.
fn install(tools: &Path) -> Result<(), String> {
    let pins = read_pins()?;
    let stamp = tools.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|kept| kept == pins) {
        return Ok(());
    }
    let (venv, npm) = (tools.join("venv"), tools.join("npm"));
    run::run(run::command("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run::run(run::command(venv.join("bin/python")).args(pip).arg("interop/requirements.txt"))?;
    let alone = ["interop/alone.txt", "--no-deps"];
    run::run(run::command(venv.join("bin/python")).args(pip).args(alone))?;
    fs::create_dir_all(&npm).map_err(|error| format!("{}: {error}", npm.display()))?;
    for name in ["package.json", "package-lock.json"] {
        let from = ambient::root().join("interop").join(name);
        fs::copy(from, npm.join(name)).map_err(|error| format!("interop/{name}: {error}"))?;
    }
    let ci = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
    run::run(run::command("npm").current_dir(&npm).args(ci))?;
    fs::write(&stamp, pins).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// The pin files, one after the other.
fn read_pins() -> Result<String, String> {
    let mut pins = String::new();
    for name in PINS {
        let path = ambient::root().join("interop").join(name);
        let text = fs::read_to_string(&path);
        pins += &text.map_err(|error| format!("interop/{name}: {error}"))?;
    }
    Ok(pins)
}
