"""requests-oauthlib: the plainest client there is, with basic and with the secret in the body."""

import os

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback is plain HTTP

import requests  # noqa: E402  the library reads the variable when it is imported
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error  # noqa: E402
from requests_oauthlib import OAuth2Session  # noqa: E402

from checks import Checks, context, equal, holds, refused  # noqa: E402

CONTEXT = context()
AGENT = CONTEXT["agent"]
WELL_KNOWN = f"{CONTEXT['url']}/.well-known/oauth-authorization-server/o/{CONTEXT['org']}"
METADATA = requests.get(WELL_KNOWN, timeout=10).json()
check = Checks("requests-oauthlib")


def fetch(scope="crm:read", **how):
    """One token request with a fresh session."""
    client = BackendApplicationClient(client_id=AGENT["client_id"], scope=scope)
    return OAuth2Session(client=client).fetch_token(METADATA["token_endpoint"], **how)


def is_token(token):
    """Fails unless the answer is a bearer token with the scope that was asked for."""
    equal(token["token_type"].lower(), "bearer")
    equal(list(token["scope"]), ["crm:read"])
    holds(token["access_token"].count(".") == 2, "is no JWT")


@check("client_secret_basic")
def _():
    is_token(fetch(client_secret=AGENT["client_secret"]))


@check("client_secret_post")
def _():
    is_token(fetch(client_secret=AGENT["client_secret"], include_client_id=True))


@check("client_secret_basic and client_id in the body as well")
def _():
    auth = requests.auth.HTTPBasicAuth(AGENT["client_id"], AGENT["client_secret"])
    is_token(fetch(auth=auth, include_client_id=True))


@check("introspection and revocation, with the library's own token requests")
def _():
    crm = CONTEXT["crm"]
    agent = (AGENT["client_id"], AGENT["client_secret"])
    token = fetch(client_secret=AGENT["client_secret"])["access_token"]

    def is_active():
        client = BackendApplicationClient(client_id=crm["client_id"])
        # RFC 7662 asks like RFC 7009 does, so that the library can write the request.
        url, headers, body = client.prepare_token_revocation_request(
            METADATA["introspection_endpoint"], token, token_type_hint="access_token"
        )
        auth = (crm["client_id"], crm["client_secret"])
        return requests.post(url, body, headers=headers, auth=auth, timeout=10).json()["active"]

    equal(is_active(), True)
    client = BackendApplicationClient(client_id=AGENT["client_id"])
    url, headers, body = client.prepare_token_revocation_request(
        METADATA["revocation_endpoint"], token, token_type_hint="access_token"
    )
    equal(requests.post(url, body, headers=headers, auth=agent, timeout=10).status_code, 200)
    equal(is_active(), False)


@check("a wrong secret is invalid_client")
def _():
    error = refused(OAuth2Error, lambda: fetch(client_secret="acr_agent_wrong"))
    equal(error.error, "invalid_client")


@check("two methods in one request are refused")
def _():
    auth = requests.auth.HTTPBasicAuth(AGENT["client_id"], AGENT["client_secret"])
    how = {"auth": auth, "include_client_id": True, "client_secret": AGENT["client_secret"]}
    equal(refused(OAuth2Error, lambda: fetch(**how)).error, "invalid_request")


check.finish()
