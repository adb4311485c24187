"""Authlib as agent and as resource: introspection, RFC 7009, and one instance's end."""

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from checks import Checks, context, equal, holds, refused
from server import clean_environment, json_command

CONTEXT = context()
WELL_KNOWN = f"{CONTEXT['url']}/.well-known/oauth-authorization-server/o/{CONTEXT['org']}"
METADATA = requests.get(WELL_KNOWN, timeout=10).json()
ADMIN = clean_environment() | {
    "ACCREDIT_URL": CONTEXT["url"],
    "ACCREDIT_TOKEN": CONTEXT["admin_token"],
}
check = Checks("revocation")


def accredit(*words):
    """One administrator's command."""
    return json_command(CONTEXT["accredit"], ADMIN, *words)


def session(who):
    """A session that authenticates with this client's secret."""
    return OAuth2Session(who["client_id"], who["client_secret"])


def fetch(who):
    """A token to read the crm."""
    more = {"grant_type": "client_credentials", "scope": "crm:read"}
    return session(who).fetch_token(METADATA["token_endpoint"], **more)["access_token"]


def introspect(token, resource="crm"):
    """What the server tells a resource about a token."""
    answer = session(CONTEXT[resource]).introspect_token(
        METADATA["introspection_endpoint"], token=token
    )
    equal(answer.status_code, 200)
    return answer.json()


@check("its own resource learns what a token may do")
def token():
    token = fetch(CONTEXT["agent"])
    facts = introspect(token)
    equal(facts["active"], True)
    equal(facts["client_id"], CONTEXT["agent"]["id"])
    equal(facts["scope"], "crm:read")
    equal(facts["aud"], CONTEXT["crm"]["audience"])
    equal(facts["iss"], CONTEXT["issuer"])
    return token


@check("another resource learns nothing of it")
def _():
    equal(introspect(token, "billing"), {"active": False})


@check("nonsense is inactive, not an error")
def _():
    equal(introspect("nonsense"), {"active": False})


@check("an agent may not introspect")
def _():
    answer = session(CONTEXT["agent"]).introspect_token(
        METADATA["introspection_endpoint"], token=token
    )
    holds(answer.status_code in (401, 403), f"answered {answer.status_code}")


@check("a token that its holder revokes is inactive at once; nonsense is revoked silently")
def _():
    agent = session(CONTEXT["agent"])
    for text in (token, "nonsense"):
        equal(agent.revoke_token(METADATA["revocation_endpoint"], token=text).status_code, 200)
    equal(introspect(token), {"active": False})


@check("a revoked instance ends, with its token; its sibling and its agent live on")
def _():
    first, second = (accredit("instance", "create", "--agent", "bot") for _ in range(2))
    dying, living, agents = fetch(first), fetch(second), fetch(CONTEXT["agent"])
    equal([introspect(each)["active"] for each in (dying, living, agents)], [True] * 3)
    accredit("revoke", first["id"], "--reason", "interop")
    equal(introspect(dying), {"active": False})
    equal([introspect(each)["active"] for each in (living, agents)], [True] * 2)
    equal(refused(OAuthError, lambda: fetch(first)).error, "invalid_client")
    fetch(second)


check.finish()
