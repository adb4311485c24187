"""requests, Authlib and Python's `ssl`: clients that are known by the certificate of their connection."""

import base64
import datetime
import json
import ssl
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

import requests
from authlib.integrations.requests_client import OAuth2Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from checks import Checks, context, equal, holds
from server import clean_environment, json_command

CONTEXT = context()
TLS = CONTEXT["tls"]
ADMIN = clean_environment() | {
    "ACCREDIT_URL": TLS["url"],
    "ACCREDIT_TOKEN": TLS["admin_token"],
    "ACCREDIT_CA_FILE": TLS["ca"],
}
AGENT, TOKEN = TLS["agent"], f"{TLS['issuer']}/oauth/token"
READ = {"grant_type": "client_credentials", "scope": "crm:read"}
SECONDS_MAX = 10
FOLDER = tempfile.TemporaryDirectory(prefix="accredit-mtls-")
PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8
check = Checks("mutual TLS")


def accredit(*words):
    """One administrator's command."""
    return json_command(CONTEXT["accredit"], ADMIN, *words)


def write(name, key, certificate):
    """Key and certificate as files; both paths, as `requests` takes them."""
    paths = [str(Path(FOLDER.name) / f"{name}.{end}") for end in ("pem", "key")]
    Path(paths[0]).write_text(certificate)
    Path(paths[1]).write_bytes(key.private_bytes(PEM, PKCS8, PLAIN))
    return tuple(paths)


def own(name, key, days=1):
    """A certificate that a key signed for itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = sorted([now - datetime.timedelta(days=2), now + datetime.timedelta(days=days)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(begins).not_valid_after(ends)
    signed = made.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return write(name, key, signed.public_bytes(PEM).decode())


def register(certificate):
    """Registers the key of a certificate for the agent; the credential."""
    words = ["--agent", "bot", "--type", "public-key", "--jwk", certificate]
    return accredit("credential", "create", *words)


def token(cert, client_id=AGENT, **more):
    """Asks for a token over a connection with this certificate and with nothing else."""
    data = READ | {"client_id": client_id} | more
    return requests.post(TOKEN, data=data, cert=cert, verify=TLS["ca"], timeout=SECONDS_MAX)


def claims(answer):
    equal(answer.status_code, 200)
    payload = answer.json()["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))


def thumbprint(cert):
    """RFC 8705 section 3.1, by another library than the server's."""
    leaf = x509.load_pem_x509_certificates(Path(cert[0]).read_bytes())[0]
    return base64.urlsafe_b64encode(leaf.fingerprint(hashes.SHA256())).decode().rstrip("=")


def is_refused(answer, rule):
    said = answer.json()
    equal([answer.status_code, said["error"], said["rule"]], [401, "invalid_client", rule])


P256 = own("p256", ec.generate_private_key(ec.SECP256R1()))
ED25519 = own("ed25519", ed25519.Ed25519PrivateKey.generate())
CREDENTIAL = register(P256[0])
register(ED25519[0])
INSTANCE = accredit("instance", "create", "--agent", "bot")


def svid(name):
    """An instance's certificate; its files and the answer."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = asked.sign(key, hashes.SHA256()).public_bytes(PEM).decode()
    answer = requests.post(
        f"{TLS['issuer']}/oauth/certificates",
        auth=(INSTANCE["client_id"], INSTANCE["client_secret"]),
        data={"csr": csr},
        verify=TLS["ca"],
        timeout=SECONDS_MAX,
    ).json()
    return write(name, key, answer["certificate"]), answer


SVID, ISSUED = svid("svid")


@check("requests: self_signed_tls_client_auth with P-256 and with Ed25519")
def _():
    for cert in (P256, ED25519):
        answer = token(cert)
        equal(claims(answer)["cnf"], {"x5t#S256": thumbprint(cert)})
        equal(answer.json()["token_type"], "Bearer")


@check("requests: tls_client_auth with an SVID, by the agent's id and by the SPIFFE ID")
def _():
    for client_id in (AGENT, ISSUED["spiffe_id"]):
        said = claims(token(SVID, client_id))
        equal(said["cnf"], {"x5t#S256": thumbprint(SVID)})
        equal([said["client_id"], said["accredit"]["ins"]], [AGENT, INSTANCE["id"]])


@check("Authlib: a session with a certificate")
def _():
    def by_connection(client, method, uri, headers, body):
        return uri, headers, f"{body}&client_id={client.client_id}"

    session = OAuth2Session(AGENT, scope="crm:read", token_endpoint_auth_method=by_connection)
    # By the call: a session's own authorities give way to those of the environment.
    over = {"cert": P256, "verify": TLS["ca"]}
    got = session.fetch_token(TOKEN, grant_type="client_credentials", **over)
    equal([got["token_type"], got["scope"]], ["Bearer", "crm:read"])


@check("urllib: TLS 1.2 and TLS 1.3")
def _():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        side = ssl.create_default_context(cafile=TLS["ca"])
        side.minimum_version = side.maximum_version = version
        side.load_cert_chain(*P256)
        data = urllib.parse.urlencode(READ | {"client_id": AGENT}).encode()
        with urllib.request.urlopen(TOKEN, data, SECONDS_MAX, context=side) as answer:
            equal(answer.status, 200)


@check("metadata names the methods, and no other address")
def _():
    url = f"{TLS['issuer']}/.well-known/openid-configuration"
    found = requests.get(url, verify=TLS["ca"], timeout=SECONDS_MAX).json()
    equal(found["tls_client_certificate_bound_access_tokens"], True)
    methods = found["token_endpoint_auth_methods_supported"]
    holds({"tls_client_auth", "self_signed_tls_client_auth"} <= set(methods), methods)
    holds("mtls_endpoint_aliases" not in found, found)


@check("no certificate, another key, another kind of key and another client are refused")
def _():
    is_refused(token(None), "client-unauthenticated")
    other = own("other", ec.generate_private_key(ec.SECP256R1()))
    is_refused(token(other), "client-authentication")
    big = own("rsa", rsa.generate_private_key(65537, 2048))
    is_refused(token(big), "client-authentication")
    is_refused(token(P256, "agt_00000000000000000000000000"), "client-authentication")
    is_refused(token(SVID, ISSUED["spiffe_id"] + "x"), "client-authentication")


@check("a certificate that is over is refused")
def _():
    key = serialization.load_pem_private_key(Path(P256[1]).read_bytes(), None)
    is_refused(token(own("over", key, days=-1)), "certificate-lifetime")


@check("a certificate in a header is nobody's")
def _():
    text = Path(P256[0]).read_text()
    der = base64.b64encode(ssl.PEM_cert_to_DER_cert(text)).decode()
    for name, value in [
        ("Client-Cert", f":{der}:"),
        ("X-Forwarded-Client-Cert", f"Cert={urllib.parse.quote(text)}"),
        ("X-SSL-Client-Cert", urllib.parse.quote(text)),
        ("SSL_CLIENT_CERT", urllib.parse.quote(text)),
        ("X-Client-Cert", der),
    ]:
        data = READ | {"client_id": AGENT}
        answer = requests.post(
            TOKEN, data=data, headers={name: value}, verify=TLS["ca"], timeout=SECONDS_MAX
        )
        is_refused(answer, "client-unauthenticated")


@check("a certificate gets no certificate and no task")
def _():
    for path, data in [("certificates", {"csr": "x"}), ("tasks", {"purpose": "x"})]:
        answer = requests.post(
            f"{TLS['issuer']}/oauth/{path}",
            data={"client_id": AGENT} | data,
            cert=SVID,
            verify=TLS["ca"],
            timeout=SECONDS_MAX,
        )
        equal([answer.status_code, answer.json()["rule"]], [400, "grant-not-for-client"])


@check("revoking ends a certificate, what was got with it, and a registered key")
def _():
    crm = accredit("credential", "create", "--resource", "crm", "--type", "client-secret")

    def is_active(text):
        answer = requests.post(
            f"{TLS['issuer']}/oauth/introspect",
            auth=(crm["client_id"], crm["client_secret"]),
            data={"token": text},
            verify=TLS["ca"],
            timeout=SECONDS_MAX,
        )
        return answer.json()["active"]

    first, second = (token(cert).json()["access_token"] for cert in (SVID, P256))
    equal([is_active(first), is_active(second)], [True, True])
    accredit("revoke", ISSUED["id"], "--reason", "interop")
    is_refused(token(SVID), "certificate-revoked")
    equal([is_active(first), is_active(second)], [False, True])
    again, _ = svid("again")
    equal(token(again).status_code, 200)
    accredit("revoke", CREDENTIAL["id"], "--reason", "interop")
    is_refused(token(P256), "credential-revoked")
    equal(is_active(second), False)
    accredit("revoke", INSTANCE["id"], "--reason", "interop")
    equal(token(again).status_code, 401)


check.finish()
