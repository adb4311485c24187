"""biscuit-python as holder and as resource: our published key, and blocks that it adds offline."""

import base64
from datetime import datetime, timedelta, timezone

import requests
from biscuit_auth import (
    Algorithm,
    AuthorizationError,
    AuthorizerBuilder,
    Biscuit,
    BiscuitValidationError,
    BlockBuilder,
    PublicKey,
)

from checks import Checks, context, equal, holds, refused
from server import clean_environment, json_command

CONTEXT = context()
WELL_KNOWN = f"{CONTEXT['url']}/.well-known/oauth-authorization-server/o/{CONTEXT['org']}"
METADATA = requests.get(WELL_KNOWN, timeout=10).json()
ADMIN = clean_environment() | {
    "ACCREDIT_URL": CONTEXT["url"],
    "ACCREDIT_TOKEN": CONTEXT["admin_token"],
}
BISCUIT = "urn:accredit:params:oauth:token-type:biscuit"
READ = 'check if resource("crm"), operation("read")'
check = Checks("biscuit")


def accredit(*words):
    """One administrator's command."""
    return json_command(CONTEXT["accredit"], ADMIN, *words)


def published(uri):
    """The Ed25519 keys of a published JWK set."""

    def key(jwk):
        data = base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
        return PublicKey.from_bytes(data, Algorithm.Ed25519)

    keys = requests.get(METADATA[uri], timeout=10).json()["keys"]
    return [key(jwk) for jwk in keys if jwk.get("crv") == "Ed25519"]


def ask(who, **form):
    """An answer of the token endpoint."""
    basic = (who["client_id"], who["client_secret"])
    return requests.post(METADATA["token_endpoint"], auth=basic, data=form, timeout=10)


def verified(text, uri="accredit_biscuit_jwks_uri"):
    """A token, checked with a published key."""
    tried = []
    for key in published(uri):
        try:
            return Biscuit.from_base64(text, key)
        except BiscuitValidationError as error:
            tried.append(error)
    raise tried[-1]


def allows(token, operation):
    """Whether a resource that decides with the crate alone lets this through."""
    facts = 'resource("crm"); operation({operation}); time({now}); allow if true'
    now = datetime.now(timezone.utc)
    builder = AuthorizerBuilder(facts, {"operation": operation, "now": now})
    try:
        builder.build(token).authorize()
    except AuthorizationError:
        return False
    return True


def exchange(text, scope):
    """What the holder gets for a token in the token endpoint's own format."""
    return ask(
        HOLDER,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=text,
        subject_token_type=BISCUIT,
        scope=scope,
    )


def introspect(text):
    """What the server tells the resource about a token."""
    basic = (CONTEXT["crm"]["client_id"], CONTEXT["crm"]["client_secret"])
    url = METADATA["introspection_endpoint"]
    return requests.post(url, auth=basic, data={"token": text}, timeout=10).json()


def holder():
    """An agent that may pass on what it may."""
    words = ["--owner", "mia@example.com", "--purpose", "narrows its tokens", "--may-delegate"]
    words += ["--allow", "crm:read", "--allow", "crm:update", "--activate"]
    accredit("agent", "create", "narrower", *words)
    return accredit("credential", "create", "--agent", "narrower", "--type", "client-secret")


HOLDER = holder()


@check("a token that is asked for is a Biscuit, and the published key verifies it")
def token():
    wanted = {"requested_token_type": BISCUIT, "scope": "crm:read crm:update"}
    answer = ask(HOLDER, grant_type="client_credentials", **wanted).json()
    equal((answer["issued_token_type"], answer["token_type"]), (BISCUIT, "Bearer"))
    token = verified(answer["access_token"])
    equal(token.block_count(), 1)
    holds(f'issuer("{CONTEXT["issuer"]}")' in token.block_source(0), token.block_source(0))
    return token


@check("no key of another purpose verifies it")
def _():
    for uri in ("accredit_feed_jwks_uri",):
        refused(BiscuitValidationError, lambda: verified(token.to_base64(), uri))
    keys = requests.get(METADATA["jwks_uri"], timeout=10).json()["keys"]
    equal([jwk for jwk in keys if jwk.get("crv") == "Ed25519"], [])


@check("whoever decides with the crate alone sees what the token allows, and no more")
def _():
    equal([allows(token, word) for word in ("read", "update", "delete")], [True, True, False])


@check("what it narrows offline in the published vocabulary is decided by the crate and by us")
def narrowed():
    soon = datetime.now(timezone.utc) + timedelta(seconds=60)
    block = BlockBuilder(f"{READ}; check if time($time), $time < {{soon}}", {"soon": soon})
    narrowed = token.append(block)
    equal([allows(narrowed, word) for word in ("read", "update")], [True, False])
    told = introspect(narrowed.to_base64())
    equal((told["active"], told["scope"]), (True, "crm:read"))
    holds(told["exp"] <= soon.timestamp() + 1, f"it ends at {told['exp']}")
    return narrowed


@check("it is exchanged for no more than is left of it")
def _():
    answer = exchange(narrowed.to_base64(), "crm:read")
    equal(answer.status_code, 200)
    equal(introspect(answer.json()["access_token"])["scope"], "crm:read")
    answer = exchange(narrowed.to_base64(), "crm:update")
    equal((answer.status_code, answer.json()["rule"]), (400, "delegation-exceeded"))


@check("what it narrows in words of its own is exchanged for nothing, and the block is named")
def _():
    foreign = narrowed.append(BlockBuilder('check if tenant("blue")'))
    equal(allows(foreign, "read"), False)
    answer = exchange(foreign.to_base64(), "crm:read")
    equal((answer.status_code, answer.json()["error"]), (400, "invalid_request"))
    equal(answer.json()["rule"], "block-foreign")
    said = answer.json()["error_description"]
    holds("block 2" in said and "`tenant`" in said, said)
    holds("scope" not in introspect(foreign.to_base64()), "a scope that nobody decided")


@check("a block that would widen it widens nothing")
def _():
    wider = BlockBuilder('check if resource("crm"), operation("read") or resource("crm"), '
                         'operation("update")')
    wider = narrowed.append(wider)
    equal(allows(wider, "update"), False)
    equal(introspect(wider.to_base64())["scope"], "crm:read")


@check("its holder ends what was narrowed, and what it was made from lives on")
def _():
    basic = (HOLDER["client_id"], HOLDER["client_secret"])
    form = {"token": narrowed.to_base64()}
    answer = requests.post(METADATA["revocation_endpoint"], auth=basic, data=form, timeout=10)
    equal(answer.status_code, 200)
    equal(introspect(narrowed.to_base64()), {"active": False})
    equal(introspect(token.to_base64())["active"], True)


check.finish()
