"""The Python in the guide and the README: each block is run as it stands, with the pinned clients.

A block is found by the text and its number there, and says below what is there before it and what
must be true after it. A block that nobody runs, and a way to run a block that is gone, fail.
"""

import os
import re
import tempfile
import time
from pathlib import Path

import jwt

from checks import Checks, context, equal, holds, refused
from server import command, json_command

CONTEXT = context()
REPOSITORY = Path(CONTEXT["repository"])
TEXTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs/guide").glob("*.md"))]
check = Checks("the guide")


def blocks():
    """The blocks of Python, by text and number: `verifying.md 1`."""
    found = {}
    for text in TEXTS:
        in_text = re.findall(r"^```python\n(.*?)^```$", text.read_text(), re.DOTALL | re.MULTILINE)
        found |= {f"{text.name} {number}": block for number, block in enumerate(in_text, 1)}
    return found


BLOCKS = blocks()


def accredit(*words):
    return json_command(CONTEXT["accredit"], os.environ, *words)


def run(name, printed=None):
    """Runs a block; what it prints goes to `printed`. Returns its names."""
    names = {"print": printed or (lambda *_: None)}
    exec(compile(BLOCKS[name], name, "exec"), names)  # the text of this repository, and no other
    return names


def token(scope):
    """A token of the agent into the file that the guide's resource reads."""
    words = ["token", "get", "--org", CONTEXT["org"], "--client-id", os.environ["CLIENT_ID"]]
    words += ["--secret-file", "planner.secret", "--scope", scope]
    code, out, err = command(CONTEXT["accredit"], os.environ, *words)
    equal((code, "granted: " in err), (0, True))
    Path("token").write_text(out.strip())


def first_token(name):
    shown = []
    run(name, lambda *values: shown.extend(values))
    equal([len(shown[0].split(".")), shown[1]], [3, 300])


def signed_assertion(name):
    registered = []

    def register(jwk):
        Path("planner.pub.json").write_text(jwk)
        words = ["--agent", "reader", "--type", "public-key", "--jwk", "planner.pub.json"]
        registered.append(accredit("credential", "create", *words)["id"])

    answer = run(name, register)["answer"]
    equal((len(registered), answer.status_code), (1, 200))
    # By that key alone: with a key that nobody registered it is refused.
    equal(run(name)["answer"].json()["error"], "invalid_client")


def verified(name):
    token("crm:read")
    equal(run(name)["claims"]["client_id"], os.environ["CLIENT_ID"])
    token("crm:update")
    refused(PermissionError, lambda: run(name))
    token("billing:read")
    refused(jwt.InvalidAudienceError, lambda: run(name))
    token("crm:read")
    head, body, signature = Path("token").read_text().split(".")
    changed = "A" if signature[0] != "A" else "B"
    Path("token").write_text(f"{head}.{body}.{changed}{signature[1:]}")
    refused(jwt.InvalidSignatureError, lambda: run(name))


def listed(name):
    accredit("resource", "update", "crm", "--status-list", "true")
    token("crm:read")
    place = run(name)["place"]
    claims = jwt.decode(Path("token").read_text(), options={"verify_signature": False})
    equal(place, claims["status"]["status_list"])
    accredit("revoke", claims["jti"], "--reason", "the guide")
    until = time.monotonic() + 10
    while True:
        try:
            run(name)
        except PermissionError:
            break
        holds(time.monotonic() < until, "the list does not say that it was revoked")
        time.sleep(0.2)
    accredit("resource", "update", "crm", "--status-list", "false")


RUN = {
    "first-ten-minutes.md 1": first_token,
    "registering-agents.md 1": signed_assertion,
    "verifying.md 1": verified,
    "verifying.md 2": listed,
}


@check("every block of Python in the guide and the README is run here, and each is there")
def _():
    equal(sorted(BLOCKS), sorted(RUN))


with tempfile.TemporaryDirectory(prefix="accredit-guide-") as folder:
    os.chdir(folder)
    os.umask(0o077)
    words = ["--owner", "mia@example.com", "--purpose", "plans the week", "--activate"]
    words += ["--allow", "crm:read", "--allow", "crm:update", "--allow", "billing:read"]
    os.environ["CLIENT_ID"] = accredit("agent", "create", "reader", *words)["id"]
    secret = accredit("credential", "create", "--agent", "reader", "--type", "client-secret")
    Path("planner.secret").write_text(secret["client_secret"])
    for name, way in RUN.items():
        if name in BLOCKS:
            check(f"{name} does what the text says")(lambda: way(name))
    os.chdir("/")

check.finish()
