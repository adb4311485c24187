"""spiffe (py-spiffe) and grpcio: a process under `accredit run` has an identity, and others have none."""

import json
import os
import subprocess
import sys
import time

import grpc

from checks import Checks, context, equal, holds, refused
from server import clean_environment, json_command

SECONDS_MAX = 20
AUDIENCE = "https://crm.example/"


def agent():
    """What runs under `accredit run`: says what it was given, then waits until its input ends."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from spiffe import TrustDomain, WorkloadApiClient, X509Source

    def spki(key):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

    with WorkloadApiClient() as client:
        began = time.monotonic()
        svid = client.fetch_x509_svid()
        took = time.monotonic() - began
        domain = svid.spiffe_id.trust_domain
        roots = client.fetch_x509_bundles().get_bundle_for_trust_domain(domain).x509_authorities
        leaf = svid.leaf
        facts = {
            "socket": os.environ["SPIFFE_ENDPOINT_SOCKET"],
            "spiffe_id": str(svid.spiffe_id),
            "milliseconds": took * 1000,
            "key_is_its": spki(svid.private_key.public_key()) == spki(leaf.public_key()),
            "chain": len(svid.cert_chain),
            "signed": [],
            "secrets": [name for name, value in os.environ.items() if "acr_" in value],
        }
        # Of the roots one is the next, which has signed nothing yet.
        authorities = {one.subject: one for one in [*svid.cert_chain[1:], *roots]}
        for below in svid.cert_chain:
            below.verify_directly_issued_by(authorities[below.issuer])
            facts["signed"].append(below.subject.rfc4514_string())
    with X509Source() as source:
        facts["source"] = str(source.get_x509_context().default_svid.spiffe_id)
        facts["trusted"] = source.get_bundle_for_trust_domain(TrustDomain(domain.name)) is not None
    facts["jwt"] = jwt_facts(domain, issuer=sys.argv[2])
    print(json.dumps(facts), flush=True)
    sys.stdin.read()


def jwt_facts(domain, issuer):
    """What the same process has by JWT-SVIDs, which the library checks by the bundle."""
    import requests
    from spiffe import JwtSvid, WorkloadApiClient
    from spiffe.workloadapi.errors import ValidateJwtSvidError

    with WorkloadApiClient() as client:
        bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
        svid = client.fetch_jwt_svid({AUDIENCE, "billing"})
        checked = JwtSvid.parse_and_validate(svid.token, bundle, {AUDIENCE})
        asked = client.validate_jwt_svid(svid.token, AUDIENCE)
        refusals = []
        for token, audience in [
            (svid.token, "elsewhere"),
            (svid.token[:-8] + "AAAAAAAA", AUDIENCE),
            ("a.b.c", AUDIENCE),
        ]:
            try:
                client.validate_jwt_svid(token, audience)
                refusals.append("taken")
            except ValidateJwtSvidError:
                refusals.append("refused")
        own = client.fetch_jwt_svid({issuer})
        form = {
            "grant_type": "client_credentials",
            "scope": "crm:read",
            "client_id": str(own.spiffe_id),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
            "client_assertion": own.token,
        }
        token = requests.post(f"{issuer}/oauth/token", form, timeout=SECONDS_MAX)
        form["client_assertion"] = svid.token
        other = requests.post(f"{issuer}/oauth/token", form, timeout=SECONDS_MAX)
        return {
            "names": sorted({str(one.spiffe_id) for one in [svid, checked, asked, own]}),
            "audience": sorted(svid.audience),
            "kept": client.fetch_jwt_svid({"billing", AUDIENCE}).token == svid.token,
            "authorities": len(bundle.jwt_authorities),
            "refusals": refusals,
            "token": [token.status_code, token.json().get("token_type")],
            "other": [other.status_code, other.json().get("rule")],
        }


def call(socket, metadata, method="FetchX509SVID"):
    """One call as gRPC alone makes it; the first message."""
    with grpc.insecure_channel(socket) as channel:
        stream = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")
        return next(stream(b"", metadata=metadata, timeout=SECONDS_MAX))


def code_of(socket, metadata, method="FetchX509SVID"):
    error = refused(grpc.RpcError, lambda: call(socket, metadata, method))
    return error.code()


def main():
    facts = context()
    environment = clean_environment() | {
        "ACCREDIT_URL": facts["url"],
        "ACCREDIT_TOKEN": facts["admin_token"],
    }
    check = Checks("spiffe")
    command = [facts["accredit"], "run", "--agent", "bot", "--name", "spiffe", "--"]
    running = subprocess.Popen(
        [*command, sys.executable, __file__, "agent", facts["issuer"]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = json.loads(running.stdout.readline() or "{}")

    @check("a SPIFFE client finds its socket and gets an SVID with its key")
    def _():
        holds("/agent/bot/instance/ins_" in said["spiffe_id"], said["spiffe_id"])
        holds(said["key_is_its"], "the key is another's")
        equal(said["chain"], 2)
        equal(said["secrets"], [])
        holds(said["milliseconds"] < 2000, said["milliseconds"])

    @check("its chain ends at a root of the bundle, each signed by the next")
    def _():
        equal(len(said["signed"]), 2)
        equal(said["source"], said["spiffe_id"])
        holds(said["trusted"], "no bundle for its trust domain")

    @check("its JWT-SVIDs are checked by the bundle, and kept by whom they are for")
    def _():
        jwt = said["jwt"]
        equal(jwt["names"], [said["spiffe_id"]])
        equal(jwt["audience"], ["billing", AUDIENCE])
        equal(jwt["authorities"], 2)
        holds(jwt["kept"], "a new one each time")
        equal(jwt["refusals"], ["refused"] * 3)

    @check("one for the issuer alone is what a client proves itself with")
    def _():
        equal(said["jwt"]["token"], [200, "Bearer"])
        equal(said["jwt"]["other"], [401, "assertion-audience"])

    @check("a question without the header is none, and a stranger has no identity")
    def _():
        meant = [("workload.spiffe.io", "true")]
        equal(code_of(said["socket"], []), grpc.StatusCode.INVALID_ARGUMENT)
        other = [("workload.spiffe.io", "false")]
        equal(code_of(said["socket"], other), grpc.StatusCode.INVALID_ARGUMENT)
        equal(code_of(said["socket"], [*meant, *meant]), grpc.StatusCode.INVALID_ARGUMENT)
        equal(code_of(said["socket"], meant), grpc.StatusCode.PERMISSION_DENIED)
        equal(code_of(said["socket"], meant, "Nothing"), grpc.StatusCode.PERMISSION_DENIED)

    @check("the instance ends with the process, and its socket is gone")
    def _():
        running.stdin.close()
        equal(running.wait(SECONDS_MAX), 0)
        listed = json_command(facts["accredit"], environment, "instance", "list", "--agent", "bot")
        states = {row["id"]: row["state"] for row in listed["items"]}
        equal(states[said["spiffe_id"].rsplit("/", 1)[1]], "revoked")
        holds(not os.path.exists(said["socket"].removeprefix("unix://")), said["socket"])

    running.kill()
    check.finish()


if __name__ == "__main__":
    agent() if sys.argv[1] == "agent" else main()
