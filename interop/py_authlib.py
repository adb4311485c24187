"""Authlib: discovery, every way a client may authenticate, and what must be refused.

Each token is verified offline with joserfc, which is what Authlib verifies with.
"""

import time
import warnings

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import get_well_known_url
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, import_key

from checks import Checks, context, equal, holds, refused

# OAuth clients still say EdDSA, so that is what is shown; RFC 9864's Ed25519 is openid-client's.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")
CONTEXT = context()
ISSUER = CONTEXT["issuer"]
AGENT = CONTEXT["agent"]
METADATA = requests.get(get_well_known_url(ISSUER, external=True), timeout=10).json()
TOKEN_ENDPOINT = METADATA["token_endpoint"]
KEYS = KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=10).json())
check = Checks("Authlib")


def fetch(auth_method, secret=AGENT["client_secret"], scope="crm:read", register=None, **more):
    """One token request with a fresh session."""
    session = OAuth2Session(
        AGENT["client_id"], secret, scope=scope, token_endpoint_auth_method=auth_method
    )
    if register:
        session.register_client_auth_method(register)
    more = {"scope": scope, **more} if scope else more
    return session.fetch_token(TOKEN_ENDPOINT, grant_type="client_credentials", **more)


def assertion(alg, with_kid=True, audience=ISSUER, seconds=120, **claims):
    """A signed-assertion method; Authlib's own lifetime of an hour is more than we accept."""
    jwk = CONTEXT[alg.lower()]["jwk"]
    headers = {"kid": jwk["kid"]} if with_kid else {}
    claims = {"exp": int(time.time()) + seconds, **claims}
    return PrivateKeyJWT(audience, claims=claims, headers=headers, alg=alg)


def fetch_signed(alg, method=None, scope="crm:read"):
    """One token request by private_key_jwt."""
    key = import_key(CONTEXT[alg.lower()]["jwk"])
    return fetch("private_key_jwt", key, scope, register=method or assertion(alg))


def is_token(token, scope="crm:read"):
    """Fails unless the answer is a bearer token of the default lifetime with this scope, and
    verifies from the published keys as RFC 9068 section 4 asks."""
    verified = jwt.decode(token["access_token"], KEYS, algorithms=["ES256", "EdDSA"])
    equal(verified.header["typ"], "at+jwt")
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": CONTEXT["crm"]["audience"]},
        exp={"essential": True},
    ).validate(verified.claims)
    equal(verified.claims["scope"], scope)
    equal(token["token_type"].lower(), "bearer")
    equal(token["expires_in"], 300)
    equal(token.get("scope"), scope)


def is_error(error, wanted):
    """Fails unless the OAuth error is this one and says something a developer can use."""
    equal(error.error, wanted)
    holds(error.description, "has no description")


@check("discovery: issuer, endpoints and methods, the same in all three well-known forms")
def _():
    equal(METADATA["issuer"], ISSUER)
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"):
        holds(METADATA[name].startswith(ISSUER + "/"), f"{name} lies outside the issuer")
    methods = {"client_secret_basic", "client_secret_post", "private_key_jwt"}
    holds(methods <= set(METADATA["token_endpoint_auth_methods_supported"]), "a method is missing")
    algorithms = set(METADATA["token_endpoint_auth_signing_alg_values_supported"])
    holds({"ES256", "EdDSA"} <= algorithms, "an algorithm is missing")
    inserted = get_well_known_url(ISSUER, external=True, suffix="openid-configuration")
    for url in (inserted, ISSUER + "/.well-known/openid-configuration"):
        equal(requests.get(url, timeout=10).json(), METADATA)


@check("client_secret_basic")
def _():
    is_token(fetch("client_secret_basic"))


@check("client_secret_post")
def _():
    is_token(fetch("client_secret_post"))


@check("private_key_jwt with ES256")
def _():
    is_token(fetch_signed("ES256"))


@check("private_key_jwt with EdDSA")
def _():
    is_token(fetch_signed("EdDSA"))


@check("private_key_jwt without kid")
def _():
    is_token(fetch_signed("ES256", assertion("ES256", with_kid=False)))


@check("two scopes, the resource named by its audience")
def _():
    more = {"scope": "crm:read crm:update", "resource": CONTEXT["crm"]["audience"]}
    token = fetch("client_secret_basic", **more)
    equal(set(token["scope"].split()), {"crm:read", "crm:update"})


@check("expires_in shortens")
def _():
    equal(fetch("client_secret_basic", expires_in="60")["expires_in"], 60)


@check("a wrong secret is invalid_client")
def _():
    wrong = AGENT["client_secret"][:-7] + "AAAAAAA"
    is_error(refused(OAuthError, lambda: fetch("client_secret_basic", wrong)), "invalid_client")


@check("a scope that the agent does not hold is invalid_scope")
def _():
    found = refused(OAuthError, lambda: fetch("client_secret_basic", scope="billing:read"))
    is_error(found, "invalid_scope")


@check("an unknown resource is invalid_target")
def _():
    more = {"resource": "https://nowhere.example/"}
    found = refused(OAuthError, lambda: fetch("client_secret_basic", **more))
    is_error(found, "invalid_target")


@check("an assertion for the token endpoint instead of the issuer is invalid_client")
def _():
    method = assertion("ES256", audience=TOKEN_ENDPOINT)
    is_error(refused(OAuthError, lambda: fetch_signed("ES256", method)), "invalid_client")


@check("an assertion for the issuer and somebody else is invalid_client")
def _():
    method = assertion("ES256", audience=[ISSUER, "https://other.example"])
    is_error(refused(OAuthError, lambda: fetch_signed("ES256", method)), "invalid_client")


@check("an assertion that lives an hour is invalid_client")
def _():
    method = assertion("ES256", seconds=3600)
    is_error(refused(OAuthError, lambda: fetch_signed("ES256", method)), "invalid_client")


@check("an assertion that has expired is invalid_client")
def _():
    method = assertion("ES256", seconds=-300, iat=int(time.time()) - 400)
    is_error(refused(OAuthError, lambda: fetch_signed("ES256", method)), "invalid_client")


@check("an assertion used twice is invalid_client the second time")
def _():
    def replayed():
        return assertion("ES256", jti="interop-used-twice")

    is_token(fetch_signed("ES256", replayed()))
    is_error(refused(OAuthError, lambda: fetch_signed("ES256", replayed())), "invalid_client")


@check("an assertion signed by a key that was never registered is invalid_client")
def _():
    stranger = ECKey.generate_key("P-256", private=True)
    method = assertion("ES256", with_kid=False)
    found = refused(OAuthError, lambda: fetch("private_key_jwt", stranger, register=method))
    is_error(found, "invalid_client")


check.finish()
