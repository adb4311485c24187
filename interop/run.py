"""Runs every third-party client against one real server; exits 0 only if every check passed."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from joserfc.jwk import ECKey, OKPKey

from server import Server, TlsServer, json_command

HERE = Path(__file__).resolve().parent
SCRIPT_SECONDS_MAX = 120
SCRIPTS = [
    "py_authlib.py",
    "py_requests_oauthlib.py",
    "py_pyjwt.py",
    "py_revoke.py",
    "py_status_list.py",
    "py_certificates.py",
    "py_mtls.py",
    "py_sslyze.py",
    "py_spiffe.py",
    "py_edge.py",
    "py_agents.py",
    "py_biscuit.py",
    "node_openid_client.mjs",
    "node_jose.mjs",
    "node_dpop.mjs",
    "node_mtls.mjs",
    "node_workloads.mjs",
    "audit.py",
    "guide.py",
    "chart.py",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accredit", required=True, help="path of the built binary")
    parser.add_argument("--two-agents", required=True, help="path of the library's example")
    parser.add_argument("--npm", required=True, help="folder that holds node_modules")
    parser.add_argument("scripts", nargs="*", help="some of the scripts; all where none is named")
    args = parser.parse_args()
    for script in HERE.glob("*.mjs"):  # an ES module finds its packages beside itself only
        shutil.copy(script, args.npm)
    with tempfile.TemporaryDirectory(prefix="accredit-interop-") as folder:
        folder = Path(folder)
        try:
            failed = run_all(args, folder)
        except Exception as error:
            print(f"interop: FAILED before the first check: {error}")
            failed = 1
        if failed:
            show_log(folder / "server.log")
    sys.exit(1 if failed else 0)


def run_all(args, folder):
    """Starts the server, registers, runs the scripts; returns how many checks failed."""
    passed = failed = 0
    nonces = {"ACCREDIT_DPOP_NONCES": "required"}
    port = free_port()
    platform = {"ACCREDIT_OUTBOUND_LOOPBACK": f"127.0.0.1:{port}"}
    with (
        Server(args.accredit, folder / "server.log") as server,
        Server(args.accredit, folder / "demanding.log", nonces) as demanding,
        Server(args.accredit, folder / "workloads.log", platform) as workloads,
        TlsServer(args.accredit, folder / "tls.log", folder / "tls", free_port()) as over_tls,
    ):
        context = register(server, folder)
        context["two_agents"] = os.path.abspath(args.two_agents)
        context["tls"] = over_tls.facts | {"agent": agent_at(over_tls)["client_id"]}
        context["demanding"] = demanding.facts | {"agent": agent_at(demanding)}
        agent = agent_at(workloads)["client_id"]
        context["workloads"] = workloads.facts | {"agent": agent, "port": port}
        path = folder / "context.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(context))
        for name in args.scripts or SCRIPTS:
            more_passed, more_failed = run_script(name, args.npm, path, server.environment())
            passed += more_passed
            failed += more_failed
    print(f"interop: {passed} passed, {failed} failed")
    return failed


def run_script(name, npm, context, environment):
    """Runs one script, shows what it prints, and returns its own count of passed and failed."""
    program = ["node", Path(npm) / name] if name.endswith(".mjs") else [sys.executable, HERE / name]
    print(f"-- {name}", flush=True)
    try:
        done = subprocess.run(
            [*program, context],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SCRIPT_SECONDS_MAX,
            text=True,
        )
    except subprocess.TimeoutExpired as late:
        print(f"{late.stdout or ''}\n{name}: not done within {SCRIPT_SECONDS_MAX} s")
        return 0, 1
    print(done.stdout, end="", flush=True)
    count = re.search(r"(\d+) passed, (\d+) failed\s*$", done.stdout)
    if not count:
        print(f"{name}: ended with {done.returncode} and without a count")
        return 0, 1
    passed, failed = int(count[1]), int(count[2])
    return passed, failed if done.returncode == 0 or failed else 1


def register(server, folder):
    """Registers resources, an agent and credentials; returns what the scripts need to know."""

    def accredit(*words):
        return json_command(server.accredit, server.environment(), *words)

    def resource(name, audience, *actions):
        flags = [word for action in actions for word in ("--action", action)]
        made = accredit("resource", "create", name, "--audience", audience, *flags)
        key = accredit("credential", "create", "--resource", name, "--type", "client-secret")
        return {"id": made["id"], "audience": audience, **client(key)}

    def public_key(key, name):
        public = key.as_dict(private=False)
        del public["alg"]  # RFC 9864 gives EdDSA a second name, and a client may use either
        path = folder / f"{name}.jwk.json"
        path.write_text(json.dumps(public))
        flags = ["--agent", "bot", "--type", "public-key", "--jwk", str(path)]
        made = accredit("credential", "create", *flags)
        return {"client_id": made["client_id"], "jwk": key.as_dict(private=True)}

    crm = resource("crm", "https://crm.example/", "read", "update")
    billing = resource("billing", "https://billing.example/", "read")
    words = ["--owner", "mia@example.com", "--purpose", "keeps customer records tidy"]
    words += ["--allow", "crm:read", "--allow", "crm:update", "--activate"]
    agent = accredit("agent", "create", "bot", *words)
    secret = accredit("credential", "create", "--agent", "bot", "--type", "client-secret")
    return {
        **server.facts,
        "accredit": os.path.abspath(server.accredit),
        "repository": str(HERE.parent),
        "crm": crm,
        "billing": billing,
        "agent": {"id": agent["id"], **client(secret)},
        "es256": public_key(new_key(ECKey, "P-256", "ES256"), "es256"),
        "eddsa": public_key(new_key(OKPKey, "Ed25519", "EdDSA"), "eddsa"),
    }


def agent_at(server):
    """Registers an agent at a second server; returns what it authenticates with."""

    def accredit(*words):
        return json_command(server.accredit, server.environment(), *words)

    accredit("resource", "create", "crm", "--audience", "https://crm.example/", "--action", "read")
    words = ["--owner", "mia@example.com", "--purpose", "proves its key"]
    accredit("agent", "create", "bot", *words, "--allow", "crm:read", "--activate")
    return client(accredit("credential", "create", "--agent", "bot", "--type", "client-secret"))


def free_port():
    """A port on loopback that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def client(credential):
    """The part of a credential that a client authenticates with."""
    return {name: credential[name] for name in ("client_id", "client_secret")}


def new_key(kind, curve, alg):
    """A fresh private key whose `kid` is its RFC 7638 thumbprint."""
    key = kind.generate_key(curve, {"alg": alg, "use": "sig"}, private=True)
    key.ensure_kid()
    return key


def show_log(path):
    """Shows the end of what the server said, since something went wrong."""
    if path.exists():
        print("-- the server's last lines")
        print("\n".join(path.read_text(errors="replace").splitlines()[-40:]))


if __name__ == "__main__":
    main()
