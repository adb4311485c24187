"""PyJWT and zlib as a resource server that follows no feed: Token Status List."""

import base64
import time
import zlib

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session

from checks import Checks, context, equal, holds
from server import clean_environment, json_command

CONTEXT = context()
WELL_KNOWN = f"{CONTEXT['url']}/.well-known/oauth-authorization-server/o/{CONTEXT['org']}"
METADATA = requests.get(WELL_KNOWN, timeout=10).json()
KEYS = jwt.PyJWKClient(METADATA["jwks_uri"], lifespan=60)
ADMIN = clean_environment() | {
    "ACCREDIT_URL": CONTEXT["url"],
    "ACCREDIT_TOKEN": CONTEXT["admin_token"],
}
# As docs/formats.md says: made anew within 5 seconds, kept on the way for 5 more at most.
SECONDS_UNTIL_SERVED_MAX = 10
ENTRIES = 131_072
check = Checks("status list")


def accredit(*words):
    """One administrator's command."""
    return json_command(CONTEXT["accredit"], ADMIN, *words)


def fetch(who):
    """A token to read the crm."""
    session = OAuth2Session(who["client_id"], who["client_secret"])
    more = {"grant_type": "client_credentials", "scope": "crm:read"}
    return session.fetch_token(METADATA["token_endpoint"], **more)["access_token"]


def verified(text, **more):
    """The claims of what the published keys verify."""
    return jwt.decode(text, KEYS.get_signing_key_from_jwt(text), algorithms=["ES256"], **more)


def place(token):
    """Where a verified token says that its status is."""
    claims = verified(token, audience=CONTEXT["crm"]["audience"], issuer=CONTEXT["issuer"])
    return claims["status"]["status_list"]


def statuses(uri):
    """The bits of a list, after all that the standard wants to be checked."""
    answer = requests.get(uri, timeout=10)
    equal(answer.status_code, 200)
    equal(answer.headers["content-type"], "application/statuslist+jwt")
    equal(jwt.get_unverified_header(answer.text)["typ"], "statuslist+jwt")
    said = verified(answer.text, options={"require": ["sub", "iat", "exp"]})
    equal(said["sub"], uri)
    equal(said["status_list"]["bits"], 1)
    holds(0 < said["ttl"] < said["exp"] - said["iat"], f"kept for {said['ttl']} s")
    deflated = base64.urlsafe_b64decode(said["status_list"]["lst"] + "==")
    inflated = zlib.decompress(deflated)
    equal(len(inflated) * 8, ENTRIES)
    return inflated


def status(token):
    """1 where the list says that the token was revoked."""
    where = place(token)
    byte, bit = divmod(where["idx"], 8)
    return statuses(where["uri"])[byte] >> bit & 1


accredit("resource", "update", "crm", "--status-list", "true")
first, second = (accredit("instance", "create", "--agent", "bot") for _ in range(2))
dying, living = fetch(first), fetch(second)


@check("a token of a resource that asked for it names a list, which says that it lives")
def _():
    equal([status(each) for each in (dying, living)], [0, 0])


@check("the list is among those that the metadata leads to")
def _():
    named = requests.get(METADATA["status_list_aggregation_endpoint"], timeout=10).json()
    holds(place(living)["uri"] in named["status_lists"], f"not among {named}")


@check("after a kill the list says so within the published bound, and its sibling lives on")
def _():
    accredit("kill", "instance", first["id"], "--reason", "interop", "--wait", "0s")
    until = time.monotonic() + SECONDS_UNTIL_SERVED_MAX
    while status(dying) == 0:
        holds(time.monotonic() < until, "the list does not say so")
        time.sleep(0.2)
    equal(status(living), 0)


@check("a list is no token, and another organization has no such list")
def _():
    uri = place(living)["uri"]
    text = requests.get(uri, timeout=10).text
    introspected = OAuth2Session(
        CONTEXT["crm"]["client_id"], CONTEXT["crm"]["client_secret"]
    ).introspect_token(METADATA["introspection_endpoint"], token=text)
    equal(introspected.json(), {"active": False})
    elsewhere = uri.replace(f"/o/{CONTEXT['org']}/", "/o/nobody/")
    equal(requests.get(elsewhere, timeout=10).status_code, 404)
    equal(requests.get(f"{uri}?time=1763717400", timeout=10).status_code, 501)


@check("a resource that asks for it no longer has tokens without")
def _():
    accredit("resource", "update", "crm", "--status-list", "false")
    claims = verified(fetch(second), audience=CONTEXT["crm"]["audience"])
    equal("status" in claims, False)


check.finish()
