"""The server under test and its command line, as a user would drive them."""

import datetime
import ipaddress
import json
import os
import queue
import subprocess
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_SECONDS_MAX = 30
COMMAND_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10


def clean_environment():
    """The environment without our own settings, and with no proxy for loopback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCREDIT_")}
    kept["NO_PROXY"] = kept["no_proxy"] = "127.0.0.1,localhost"
    return kept


class Server:
    """`accredit dev` on a free port, as a context manager: it is ended whatever happens."""

    def __init__(self, accredit, log_path, settings=None):
        self.accredit = accredit
        self.settings = settings or {}
        self.log = open(log_path, "wb")

    def __enter__(self):
        command = [self.accredit, "dev", "--listen", "127.0.0.1:0", "--output", "json"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=clean_environment() | self.settings,
        )
        try:
            self.facts = json.loads(self._first_line())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the server, politely first."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def environment(self):
        """The environment in which the command line talks to this server."""
        facts = {"ACCREDIT_URL": self.facts["url"], "ACCREDIT_TOKEN": self.facts["admin_token"]}
        return clean_environment() | facts

    def _first_line(self):
        """The one line the server prints; what follows is read and dropped, so it never blocks."""
        lines = queue.Queue()

        def read():
            for line in self.process.stdout:
                lines.put(line)
            lines.put(b"")

        threading.Thread(target=read, daemon=True).start()
        try:
            line = lines.get(timeout=START_SECONDS_MAX)
        except queue.Empty:
            raise RuntimeError(f"printed nothing within {START_SECONDS_MAX} s") from None
        if not line:
            raise RuntimeError(f"ended with {self.process.wait()} before it was ready")
        return line


class HostServer(Server):
    """`accredit serve` on a free port, known to the world as `localhost`, which is a host's name."""

    url = "http://localhost:{port}"

    def __init__(self, accredit, log_path, folder, port):
        super().__init__(accredit, log_path)
        self.folder = folder
        self.port = port

    def __enter__(self):
        data, url = self.folder / "data", self.url.format(port=self.port)
        words = ["init", "--data", str(data), "--public-url", url]
        words += ["--listen", f"127.0.0.1:{self.port}"]
        self.facts = json_command(self.accredit, clean_environment(), *words)
        self._configure(data)
        self.process = subprocess.Popen(
            [self.accredit, "serve", "--config", self.facts["config"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env=clean_environment(),
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _configure(self, data):
        """Changes what `init` has written, where that is wanted."""

    def _wait(self):
        until = time.monotonic() + START_SECONDS_MAX
        while command(self.accredit, self.environment(), "org", "list")[0] != 0:
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError("does not serve")


class TlsServer(HostServer):
    """The same over TLS, known by its address, asking its clients for certificates."""

    url = "https://127.0.0.1:{port}"

    def _configure(self, data):
        self.facts["ca"] = str(data / "tls.pem")
        write_certificate(data / "tls.key", data / "tls.pem")
        with open(self.facts["config"], "a", encoding="utf-8") as config:
            config.write('\n[tls]\ncertificate_file = "tls.pem"\nkey_file = "tls.key"\n')
            config.write('client_certificates = "asked"\n')

    def environment(self):
        return super().environment() | {"ACCREDIT_CA_FILE": self.facts["ca"]}


def write_certificate(key_path, certificate_path):
    """A server's certificate for loopback, which signs nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(minutes=5))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    key_path.touch(mode=0o600)
    key_path.write_bytes(key.private_bytes(pem, form, plain))
    certificate_path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))


def command(accredit, environment, *words):
    """Runs one command; returns exit code, standard output and standard error."""
    done = subprocess.run(
        [accredit, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_SECONDS_MAX,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def json_command(accredit, environment, *words):
    """Runs one command that must succeed, and returns the object it prints."""
    code, out, err = command(accredit, environment, *words, "--output", "json")
    if code != 0:
        shown = " ".join(words)
        raise RuntimeError(f"`accredit {shown}` ended with {code}: {err.strip() or out.strip()}")
    return json.loads(out)
