"""PyJWT: a resource that verifies offline, from the published keys alone, and a client that signs."""

import base64
import json
import time
import uuid

import jwt
import requests

from checks import Checks, context, equal, holds, refused

CONTEXT = context()
AGENT, CRM = CONTEXT["agent"], CONTEXT["crm"]
WELL_KNOWN = f"{CONTEXT['url']}/.well-known/oauth-authorization-server/o/{CONTEXT['org']}"
METADATA = requests.get(WELL_KNOWN, timeout=10).json()
KEYS = jwt.PyJWKClient(METADATA["jwks_uri"])
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]
check = Checks("PyJWT")


def verify(token, audience=CRM["audience"], issuer=CONTEXT["issuer"]):
    """Verifies as RFC 9068 section 4 asks, and returns the claims."""
    holds(jwt.get_unverified_header(token)["typ"] == "at+jwt", "typ is not at+jwt")
    return jwt.decode(
        token,
        KEYS.get_signing_key_from_jwt(token),
        algorithms=["ES256", "EdDSA"],
        audience=audience,
        issuer=issuer,
        options={"require": REQUIRED},
    )


def changed(token, **claims):
    """The token with other claims and the old signature."""
    header, payload, signature = token.split(".")
    body = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    text = json.dumps(body | claims).encode()
    return ".".join([header, base64.urlsafe_b64encode(text).decode().rstrip("="), signature])


@check("a token response must not be cached (RFC 6749 section 5.1)")
def token():
    answer = requests.post(
        METADATA["token_endpoint"],
        auth=(AGENT["client_id"], AGENT["client_secret"]),
        data={"grant_type": "client_credentials", "scope": "crm:read"},
        timeout=10,
    )
    equal(answer.status_code, 200)
    equal(answer.headers["Cache-Control"], "no-store")
    holds(answer.headers["Content-Type"].startswith("application/json"), "is not JSON")
    return answer.json()["access_token"]


@check("the token verifies from the JWKS and says what RFC 9068 asks for")
def _():
    claims = verify(token)
    equal(claims["sub"], AGENT["id"])
    equal(claims["client_id"], AGENT["id"])
    equal(claims["aud"], CRM["audience"])
    equal(claims["scope"], "crm:read")
    equal(claims["exp"] - claims["iat"], 300)
    holds(claims["jti"].startswith("tok_"), "jti is no token id")


@check("our own claim carries version, lineage and the revocation counter")
def _():
    own = verify(token)["accredit"]
    equal(own["v"], 1)
    equal(own["kind"], "agent")
    equal(own["depth"], 0)
    holds(isinstance(own["rev"], int), "rev is no number")
    prefixes = [identifier.split("_")[0] for identifier in own["lin"][:4]]
    equal(prefixes, ["org", "crd", "usr", "res"])
    holds("dlg" not in own, "may be delegated although the agent may not")


@check("no published key holds a private part")
def _():
    keys = requests.get(METADATA["jwks_uri"], timeout=10).json()["keys"]
    holds(keys, "no key is published")
    for key in keys:
        holds(not {"d", "k", "p", "q"} & set(key), "a private part is published")
        holds(key["kid"].startswith("key_"), "kid is no key id")


@check("a token with a widened scope is refused")
def _():
    forged = changed(token, scope="crm:read crm:update")
    refused(jwt.InvalidSignatureError, lambda: verify(forged))


@check("a token is refused at another audience")
def _():
    billing = CONTEXT["billing"]["audience"]
    refused(jwt.InvalidAudienceError, lambda: verify(token, audience=billing))


@check("a token is refused by whoever expects another issuer")
def _():
    other = CONTEXT["issuer"] + "2"
    refused(jwt.InvalidIssuerError, lambda: verify(token, issuer=other))


def proof(who):
    """A client assertion (RFC 7523), for one request."""
    jwk, now = who["jwk"], int(time.time())
    claims = {"iss": who["client_id"], "sub": who["client_id"], "aud": CONTEXT["issuer"]}
    claims |= {"iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
    key = jwt.PyJWK(jwk).key
    assertion = jwt.encode(claims, key, algorithm=jwk["alg"], headers={"kid": jwk["kid"]})
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {"client_assertion_type": kind, "client_assertion": assertion}


def introspected(token):
    """Whether the resource is told that the token is alive."""
    auth = (CRM["client_id"], CRM["client_secret"])
    endpoint = METADATA["introspection_endpoint"]
    return requests.post(endpoint, auth=auth, data={"token": token}, timeout=10).json()["active"]


@check("a token by private_key_jwt verifies, and ends when its client revokes it")
def _():
    for who in (CONTEXT["es256"], CONTEXT["eddsa"]):
        asked = {"grant_type": "client_credentials", "scope": "crm:read", **proof(who)}
        answer = requests.post(METADATA["token_endpoint"], data=asked, timeout=10)
        token = answer.json()["access_token"]
        equal(verify(token)["client_id"], who["client_id"])
        equal(introspected(token), True)
        data = {"token": token, **proof(who)}
        answer = requests.post(METADATA["revocation_endpoint"], data=data, timeout=10)
        equal(answer.status_code, 200)
        equal(introspected(token), False)


check.finish()
