"""The log: an independent verifier agrees with `accredit audit verify`, on good and bad exports."""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jwt
import requests

from checks import Checks, context, equal, holds
from server import clean_environment, command

CONTEXT = context()
AGENT = CONTEXT["agent"]
ADMIN = clean_environment() | {
    "ACCREDIT_URL": CONTEXT["url"],
    "ACCREDIT_TOKEN": CONTEXT["admin_token"],
}
SCRIPT = Path(CONTEXT["repository"]) / "docs" / "verify_log.py"
VERIFICATION_FAILED = 9
FOLDER = Path(tempfile.mkdtemp(dir=os.path.dirname(sys.argv[1])))
EXPORT, KEY = FOLDER / "export.ndjson", FOLDER / "key"
check = Checks("audit")


def admin(*words):
    """One administrator's command that must succeed."""
    code, out, err = command(CONTEXT["accredit"], ADMIN, *map(str, words))
    holds(code == 0, f"`{words}` ended with {code}: {err or out}")


def ours(export):
    """What the binary says of an export; it is given neither server nor token."""
    words = ["audit", "verify", str(export), "--key", str(KEY)]
    code, out, err = command(CONTEXT["accredit"], clean_environment(), *words)
    return code, out + err


def theirs(export):
    """What the independent script says of it."""
    words = [sys.executable, SCRIPT, export, KEY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def events(lines):
    """Index of line and event, for each event of an export."""
    parsed = [(number, json.loads(line)) for number, line in enumerate(lines)]
    return [(number, line["event"]) for number, line in parsed if "event" in line]


def agent_created(lines):
    """The line number of the agent's creation, its event, and the event of the next line."""
    found = events(lines)
    at = next(at for at, (_, event) in enumerate(found) if event["type"] == "agent.created")
    (number, event), (following, after) = found[at : at + 2]
    equal(following, number + 1)
    return number, event, after


def is_caught(lines, *touched):
    """Fails unless both verifiers refuse these lines and name one of the events touched."""
    copy = FOLDER / "copy.ndjson"
    copy.write_text("\n".join(lines) + "\n")
    ids = "|".join(event["id"] for event in touched)
    numbers = "|".join(str(event["seq"]) for event in touched)
    name = rf"{ids}|\b(seq|sequence|event|leaf|index)\W+({numbers})\b"
    for who, (code, said) in (("accredit", ours(copy)), ("verify_log.py", theirs(copy))):
        holds(code == VERIFICATION_FAILED, f"{who} ended with {code}: {said}")
        holds(re.search(name, said), f"{who} names none of {ids}: {said}")


@check("an export and the log's key are written")
def lines():
    admin("audit", "export", "-o", EXPORT)
    admin("audit", "key", "-o", KEY)
    return EXPORT.read_text().splitlines()


@check("both verifiers accept it")
def _():
    for who, (code, said) in (("accredit", ours(EXPORT)), ("verify_log.py", theirs(EXPORT))):
        holds(code == 0, f"{who} ended with {code}: {said}")


@check("a token that was handed out stands in the log")
def _():
    answer = requests.post(
        f"{CONTEXT['issuer']}/oauth/token",
        auth=(AGENT["client_id"], AGENT["client_secret"]),
        data={"grant_type": "client_credentials", "scope": "crm:read"},
        timeout=10,
    ).json()
    token = jwt.decode(answer["access_token"], options={"verify_signature": False})["jti"]
    later = FOLDER / "later.ndjson"
    admin("audit", "export", "-o", later)
    issued = [e for _, e in events(later.read_text().splitlines()) if e["type"] == "token.issued"]
    equal([e["payload"]["token"] for e in issued].count(token), 1)


@check("no secret stands in the export")
def _():
    text = EXPORT.read_text()
    for secret in (AGENT["client_secret"], CONTEXT["admin_token"]):
        holds(secret not in text, "a secret is in the log")
    holds("acr_" not in text, "something like a secret is in the log")


@check("an edited event is caught by both, by name")
def _():
    number, event, _ = agent_created(lines)
    edited = lines[number].replace('"name":"bot"', '"name":"bat"')
    holds(edited != lines[number], "the event does not hold the name to edit")
    is_caught([*lines[:number], edited, *lines[number + 1 :]], event)


@check("a dropped event is caught by both, by name")
def _():
    number, event, after = agent_created(lines)
    is_caught([*lines[:number], *lines[number + 1 :]], event, after)


@check("two events in the wrong order are caught by both, by name")
def _():
    number, event, after = agent_created(lines)
    swapped = [lines[number + 1], lines[number]]
    is_caught([*lines[:number], *swapped, *lines[number + 2 :]], event, after)


@check("the sample exports get the verdicts that are written down, from both")
def _():
    samples = Path(CONTEXT["repository"]) / "crates" / "wire" / "vectors" / "tlog"
    for line in (samples / "expected.ndjson").read_text().splitlines():
        expected = json.loads(line)
        name, verdict = expected["file"], expected["verdict"]
        files = [samples / name, samples / "keys.txt"]
        older = [samples / expected["older"]] if expected["older"] else []
        words = [sys.executable, SCRIPT, *files, *older]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        told = json.loads(done.stdout)
        found = told["finding"] and {key: told["finding"][key] for key in ("kind", "lane", "seq")}
        equal(
            (name, told["ok"], told["events"], found),
            (name, verdict["ok"], verdict["events"], verdict["finding"]),
        )
        code = 0 if verdict["ok"] else VERIFICATION_FAILED
        equal((name, done.returncode), (name, code))
        words = ["audit", "verify", str(files[0]), "--key", str(files[1]), "--partial"]
        against = ["--checkpoint", str(older[0])] if older else []
        ended, out, err = command(CONTEXT["accredit"], clean_environment(), *words, *against)
        holds(ended == code, f"{name}: accredit ended with {ended}: {out}{err}")


@check("another log's key is refused by both")
def _():
    text = KEY.read_text()
    strange = base64.b64encode(bytes([1]) + bytes(range(32))).decode()
    lines = ["+".join([*line.split("+")[:2], strange]) for line in text.splitlines()]
    KEY.write_text("\n".join(lines) + "\n")
    try:
        codes = [ours(EXPORT)[0], theirs(EXPORT)[0]]
    finally:
        KEY.write_text(text)
    holds(0 not in codes, f"ended with {codes}")


check.finish()
