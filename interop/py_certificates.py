"""cryptography, requests and Python's `ssl`: two instances that know each other by X.509-SVIDs."""

import base64
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from checks import Checks, context, equal, holds
from server import clean_environment, json_command

CONTEXT = context()
ADMIN = clean_environment() | {
    "ACCREDIT_URL": CONTEXT["url"],
    "ACCREDIT_TOKEN": CONTEXT["admin_token"],
}
SECONDS_MAX = 10
FOLDER = tempfile.TemporaryDirectory(prefix="accredit-svid-")
check = Checks("certificates")


def accredit(*words):
    """One administrator's command."""
    return json_command(CONTEXT["accredit"], ADMIN, *words)


def path(name):
    return str(Path(FOLDER.name) / name)


def request_for(key):
    """A request that asks for more than anybody gets."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.example")])
    names = [x509.DNSName("evil.example"), x509.UniformResourceIdentifier("spiffe://evil/x")]
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    asked = asked.add_extension(x509.SubjectAlternativeName(names), critical=False)
    asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def certificate_of(instance, name, csr=None):
    """Gets a certificate; the answer, with the files that `ssl` reads."""
    key = ec.generate_private_key(ec.SECP256R1())
    answer = requests.post(
        f"{CONTEXT['issuer']}/oauth/certificates",
        auth=(instance["client_id"], instance["client_secret"]),
        data={"csr": csr or request_for(key)},
        timeout=SECONDS_MAX,
    )
    if answer.status_code != 200:
        return answer
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    Path(path(f"{name}.key")).write_bytes(
        key.private_bytes(encoding, form, serialization.NoEncryption())
    )
    Path(path(f"{name}.pem")).write_text(answer.json()["certificate"])
    return answer


def bundle():
    """The published roots, as `ssl` takes them."""
    keys = requests.get(f"{CONTEXT['issuer']}/spiffe/bundle", timeout=SECONDS_MAX).json()["keys"]
    roots = [key["x5c"][0] for key in keys if key["use"] == "x509-svid"]
    return "".join(ssl.DER_cert_to_PEM_cert(base64.b64decode(root)) for root in roots)


def side(purpose, name):
    """What one side of a connection trusts and shows."""
    made = ssl.SSLContext(purpose)
    made.check_hostname = False  # a SPIFFE ID is no host: it is compared below
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=bundle())
    if name:
        made.load_cert_chain(path(f"{name}.pem"), path(f"{name}.key"))
    return made


def peers(client, server):
    """Connects two instances; whom each of them sees, or why the server refused."""
    seen = {}
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            connection.settimeout(SECONDS_MAX)
            with connection:
                try:
                    with side(ssl.PROTOCOL_TLS_SERVER, server).wrap_socket(
                        connection, server_side=True
                    ) as tls:
                        seen["client"] = tls.getpeercert()["subjectAltName"]
                        tls.sendall(b"hello")
                except ssl.SSLError as error:
                    seen["refused"] = error.reason

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), SECONDS_MAX) as connection:
                with side(ssl.PROTOCOL_TLS_CLIENT, client).wrap_socket(connection) as tls:
                    seen["server"] = tls.getpeercert()["subjectAltName"]
                    seen["said"] = tls.recv(5)
        except (ssl.SSLError, ConnectionError):
            pass
        thread.join()
    return seen


ONE, TWO = (accredit("instance", "create", "--agent", "bot") for _ in range(2))
FIRST, SECOND = certificate_of(ONE, "one").json(), certificate_of(TWO, "two").json()


@check("a certificate names its instance, and nothing that the request asked for")
def _():
    leaf = x509.load_pem_x509_certificates(FIRST["certificate"].encode())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    equal([name.value for name in names], [FIRST["spiffe_id"]])
    holds(FIRST["spiffe_id"].endswith(f"/agent/bot/instance/{ONE['id']}"), FIRST["spiffe_id"])
    equal(leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, False)
    equal(leaf.subject.rfc4514_string(), f"CN={ONE['id']}")
    holds(FIRST["expires_in"] <= 3600, FIRST["expires_in"])


@check("two instances authenticate each other, each by the id of the other")
def _():
    seen = peers("one", "two")
    equal(seen["said"], b"hello")
    equal(seen["client"], (("URI", FIRST["spiffe_id"]),))
    equal(seen["server"], (("URI", SECOND["spiffe_id"]),))


@check("whoever shows no certificate, or one of its own making, is refused")
def _():
    holds("refused" in peers(None, "two"), "a client without a certificate was taken")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = x509.load_pem_x509_certificates(FIRST["certificate"].encode())[0]
    forged = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.issuer)
    forged = forged.public_key(key.public_key()).serial_number(leaf.serial_number)
    forged = forged.not_valid_before(leaf.not_valid_before_utc)
    forged = forged.not_valid_after(leaf.not_valid_after_utc)
    for extension in leaf.extensions:
        forged = forged.add_extension(extension.value, extension.critical)
    encoding = serialization.Encoding.PEM
    text = forged.sign(key, hashes.SHA256()).public_bytes(encoding).decode()
    text += FIRST["certificate"].split("-----END CERTIFICATE-----\n", 1)[1]
    Path(path("forged.pem")).write_text(text)
    form = serialization.PrivateFormat.PKCS8
    Path(path("forged.key")).write_bytes(
        key.private_bytes(encoding, form, serialization.NoEncryption())
    )
    holds("refused" in peers("forged", "two"), "a forged certificate was taken")


@check("a key that did not sign its request, or that is too small, gets nothing")
def _():
    corpus = Path(CONTEXT["repository"]) / "fuzz/corpus/csr"
    for name in ["forged.pem", "rsa1024.pem", "p521.pem"]:
        answer = certificate_of(ONE, "none", (corpus / name).read_text())
        equal([answer.status_code, answer.json()["rule"]], [400, "certificate-request"])
    liar = ONE | {"client_secret": TWO["client_secret"] + "x"}
    equal(certificate_of(liar, "none").status_code, 401)


def told(answer):
    """Whether a certificate is on its issuer's list, and what is answered about it."""
    leaf, issuer = x509.load_pem_x509_certificates(answer["certificate"].encode())
    points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    url = points[0].full_name[0].value
    crl = x509.load_der_x509_crl(requests.get(url, timeout=SECONDS_MAX).content)
    holds(crl.is_signature_valid(issuer.public_key()), "the list is another's")
    equal(crl.issuer, issuer.subject)
    entry = crl.get_revoked_certificate_by_serial_number(leaf.serial_number)
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    ocsp_id = AuthorityInformationAccessOID.OCSP
    url = next(one.access_location.value for one in access if one.access_method == ocsp_id)
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
    asked = asked.add_extension(x509.OCSPNonce(b"n" * 32), critical=False).build()
    response = requests.post(
        url,
        asked.public_bytes(serialization.Encoding.DER),
        headers={"content-type": "application/ocsp-request"},
        timeout=SECONDS_MAX,
    )
    said = ocsp.load_der_ocsp_response(response.content)
    equal(said.response_status, ocsp.OCSPResponseStatus.SUCCESSFUL)
    equal(said.serial_number, leaf.serial_number)
    algorithm = ec.ECDSA(said.signature_hash_algorithm)
    issuer.public_key().verify(said.signature, said.tbs_response_bytes, algorithm)
    return entry is not None, said.certificate_status


GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


@check("a certificate that stands is on no list, and good")
def _():
    equal(told(FIRST), (False, GOOD))


@check("a kill is on the list and in the answer within ten seconds, and its sibling is not")
def _():
    accredit("revoke", ONE["id"], "--reason", "interop")
    until = time.monotonic() + SECONDS_MAX
    while told(FIRST) != (True, REVOKED) and time.monotonic() < until:
        time.sleep(0.5)
    equal(told(FIRST), (True, REVOKED))
    equal(told(SECOND), (False, GOOD))


@check("a kill is told of the certificates that hang on it, and there are no more of them")
def _():
    listed = accredit("certificate", "list", "--agent", "bot")["items"]
    standing = {row["id"]: row["standing"] for row in listed}
    equal([standing[each["id"]] for each in (FIRST, SECOND)], ["revoked", "valid"])
    equal(certificate_of(ONE, "none").status_code, 401)
    equal(certificate_of(TWO, "two").status_code, 200)


check.finish()
