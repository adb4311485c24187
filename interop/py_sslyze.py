"""sslyze: the listener's TLS against Mozilla's recommendations, by files that are renewed and by its own authority."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from checks import Checks, context, equal, holds
from server import clean_environment, json_command

CONTEXT = context()
FOLDER = tempfile.TemporaryDirectory(prefix="accredit-sslyze-")
DATA = Path(FOLDER.name) / "data"
PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8
START_SECONDS_MAX = 30
SCAN_SECONDS_MAX = 60
RENEWED_SECONDS_MAX = 30
check = Checks("TLS")


def built(subject, issuer, key, days):
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(minutes=5))
    return made.not_valid_after(now + datetime.timedelta(days=days))


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """An authority of this test's own, which signs the listener's certificates."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named("a test's authority")
        usage = {name: False for name in ["digital_signature", "content_commitment"]}
        usage |= {name: False for name in ["key_encipherment", "data_encipherment"]}
        usage |= {"key_agreement": False, "encipher_only": False, "decipher_only": False}
        made = built(self.name, self.name, self.key, 90)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage)
        made = made.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        made = made.add_extension(identifier, critical=False)
        self.certificate = made.sign(self.key, hashes.SHA256())
        self.file = Path(FOLDER.name) / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(PEM))

    def certify(self):
        """A new certificate and its key, put where the listener has its own; the serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = built(named("127.0.0.1"), self.name, key, 30)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        made = made.add_extension(server, critical=False)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = made.add_extension(own, critical=False).sign(self.key, hashes.SHA256())
        put("tls.pem", made.public_bytes(PEM))
        put("tls.key", key.private_bytes(PEM, PKCS8, PLAIN))
        return made.serial_number


def put(name, content):
    """A file in the place of another, whole from the first moment on."""
    path = DATA / f"{name}.new"
    path.touch(mode=0o600)
    path.write_bytes(content)
    os.replace(path, DATA / name)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Listener:
    """`accredit serve` over TLS with a setting."""

    def __init__(self, setting):
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        words = ["--data", str(DATA), "--public-url", f"https://{address}", "--listen", address]
        facts = json_command(CONTEXT["accredit"], clean_environment(), "init", *words)
        self.authority = Authority()
        self.trusted = self.authority.file
        self.serial = self.authority.certify()
        with open(facts["config"], "a", encoding="utf-8") as config:
            config.write('\n[tls]\ncertificate_file = "tls.pem"\nkey_file = "tls.key"\n')
            config.write(setting)
        self.command = [CONTEXT["accredit"], "serve", "--config", facts["config"]]

    def __enter__(self):
        log = open(Path(FOLDER.name) / "log", "wb")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment()
        )
        until = time.monotonic() + START_SECONDS_MAX
        while self.served() is None:
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError("does not serve over TLS")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def served(self, version=None):
        """The serial number of the certificate that it shows now; none where it does not listen."""
        trusted = ssl.create_default_context(cafile=str(self.trusted))
        if version:
            trusted.minimum_version = trusted.maximum_version = version
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
                with trusted.wrap_socket(plain, server_hostname="127.0.0.1") as over_tls:
                    shown = over_tls.getpeercert(binary_form=True)
        except ConnectionRefusedError:
            time.sleep(0.05)
            return None
        return x509.load_der_x509_certificate(shown).serial_number

    def scanned(self, recommendation):
        """What sslyze says against one of Mozilla's recommendations."""
        words = ["--mozilla_config", recommendation, f"127.0.0.1:{self.port}"]
        words = ["--certinfo_ca_file", str(self.trusted), *words]
        done = subprocess.run(
            [sys.executable, "-m", "sslyze", *words],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SCAN_SECONDS_MAX,
            text=True,
        )
        verdict = done.stdout.split("COMPLIANCE AGAINST TLS CONFIGURATION")[-1].strip()
        return done.returncode, verdict, done.stdout


class OwnListener(Listener):
    """The same by the installation's own authority, whose roots were printed before it was started."""

    def __init__(self, setting):
        self.port = free_port()
        address, data = f"127.0.0.1:{self.port}", Path(FOLDER.name) / "own"
        words = ["--data", str(data), "--public-url", f"https://{address}", "--listen", address]
        facts = json_command(CONTEXT["accredit"], clean_environment(), "init", "--own-ca", *words)
        with open(facts["config"], "a", encoding="utf-8") as config:
            config.write(setting)
        self.trusted = Path(FOLDER.name) / "own.pem"
        words = ["bundle", "--config", facts["config"], "-o", str(self.trusted)]
        json_command(CONTEXT["accredit"], clean_environment(), "tls", *words)
        self.command = [CONTEXT["accredit"], "serve", "--config", facts["config"]]


with OwnListener('min_version = "1.3"\n') as own:

    @check("by an authority of its own, TLS 1.3 alone is `modern` as well, and its chain is trusted")
    def _():
        code, verdict, told = own.scanned("modern")
        holds("OK - Compliant" in verdict, verdict)
        equal(code, 0)
        holds("Certificate is trusted" in told, told)


with Listener('min_version = "1.3"\n') as modern:

    @check("TLS 1.3 alone is Mozilla's `modern` configuration, as sslyze judges it")
    def _():
        code, verdict, told = modern.scanned("modern")
        holds("OK - Compliant" in verdict, verdict)
        equal(code, 0)
        for sound in ["Not vulnerable to Heartbleed", "Client Renegotiation DoS Attack:   OK"]:
            holds(sound in told, told)

    @check("TLS 1.2 is not spoken then")
    def _():
        try:
            modern.served(ssl.TLSVersion.TLSv1_2)
        except ssl.SSLError:
            return
        raise AssertionError("a handshake of TLS 1.2 came to its end")

    @check("a certificate that is put in the place of another is shown, and nothing is started anew")
    def _():
        equal(modern.served(), modern.serial)
        renewed = modern.authority.certify()
        until = time.monotonic() + RENEWED_SECONDS_MAX
        while (shown := modern.served()) != renewed:
            equal(shown, modern.serial)
            holds(time.monotonic() < until, "the old one is shown still")
            time.sleep(0.2)
        equal(modern.process.poll(), None)


check.finish()
