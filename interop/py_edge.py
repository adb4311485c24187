"""spiffe (py-spiffe), grpcio and Python's `ssl`: processes of a machine, each known by its executable."""

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc

from checks import Checks, context, equal, holds
from py_spiffe import code_of
from server import HostServer, clean_environment, json_command

SECONDS_MAX = 20
# What was ended is given out for 20 seconds at most; the rest is for a machine with other work.
ENDED_SECONDS_MAX = 30
MEANT = [("workload.spiffe.io", "true")]
# Asks at the socket, so that it is an instance, and then starts what it is given, which shares that.
LAUNCHER = r"""
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, argv[1], sizeof at.sun_path - 1);
    char *ask = "GET /status HTTP/1.0\r\nhost: localhost\r\nworkload.spiffe.io: true\r\n\r\n";
    char said[4096];
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    if (argc < 3 || connect(local, (struct sockaddr *)&at, sizeof at)) return 1;
    write(local, ask, strlen(ask));
    while (read(local, said, sizeof said) > 0) {}
    pid_t child = fork();
    if (!child) { execv(argv[2], argv + 2); _exit(127); }
    int status;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}
"""


def agent():
    """What the launcher starts: says what it has, and then how its stream ended."""
    from cryptography import x509
    from spiffe import WorkloadApiClient

    with WorkloadApiClient() as client:
        svid = client.fetch_x509_svid()
        domain = svid.spiffe_id.trust_domain
        bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(domain)
    names = svid.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    facts = {
        "spiffe_id": str(svid.spiffe_id),
        "hosts": names.get_values_for_type(x509.DNSName),
        "uris": names.get_values_for_type(x509.UniformResourceIdentifier),
        "met": [met_as(name, svid, bundle) for name in (sys.argv[2], f"x.{sys.argv[2]}")],
    }
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        stream = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")(b"", metadata=MEANT)
        next(stream)
        print(json.dumps(facts), flush=True)
        try:
            for _ in stream:
                pass
            print(json.dumps("ended"), flush=True)
        except grpc.RpcError as error:
            print(json.dumps(error.code().name), flush=True)


def met_as(name, svid, bundle):
    """Whether a client of Python's `ssl` that looks for a host takes this certificate for its."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Encoding.PEM
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        chain.write_bytes(b"".join(one.public_bytes(pem) for one in svid.cert_chain))
        key.touch(mode=0o600)
        key.write_bytes(svid.private_key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
        serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serves.load_cert_chain(chain, key)
    asks = ssl.create_default_context()
    asks.load_verify_locations(
        cadata="".join(one.public_bytes(pem).decode() for one in bundle.x509_authorities)
    )
    here, there = socket.socketpair()

    def serve():
        try:
            serves.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        with asks.wrap_socket(here, server_hostname=name):
            return "met"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    finally:
        server.join(SECONDS_MAX)


class Edge:
    """A server that is reached by a host's name, and a machine with the daemon."""

    def __init__(self, accredit, folder):
        self.accredit, self.folder = accredit, folder
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.server = HostServer(accredit, folder / "server.log", folder / "server", port)

    def __enter__(self):
        self.server.__enter__()
        self.org = self.server.facts["org"]
        crm = ["crm", "--audience", "https://crm.example/", "--action", "read"]
        self.tells("resource", "create", *crm)
        for name in ("edge-bot", "edge-node"):
            words = ["--owner", "mia@example.com", "--purpose", "interop", "--allow", "crm:read"]
            self.tells("agent", "create", name, *words, "--activate")
        self.host = f"edge-bot.{self.org}.localhost"
        self.tells("agent", "update", "edge-bot", "--dns-name", self.host)
        source, self.launcher = self.folder / "launcher.c", self.folder / "launcher"
        source.write_text(LAUNCHER)
        subprocess.run(["cc", "-O1", "-o", self.launcher, source], check=True)
        self.other = self.folder / "other"
        self.other.write_bytes(self.launcher.read_bytes() + b"\0")
        self.other.chmod(0o755)
        digest = hashlib.sha256(self.launcher.read_bytes()).hexdigest()
        rule = ["attest", "rule", "add", "--agent", "edge-bot", "--edge", "edge-node"]
        self.tells(*rule, "--claim", f"path={self.launcher}", "--claim", f"sha256={digest}")
        run = self.folder / "run"
        run.mkdir(mode=0o755)
        self.socket = run / "agent@localhost"
        token = self.folder / "join-token"
        token.touch(mode=0o600)
        token.write_text(self.tells("edge", "invite", "--agent", "edge-node")["join_token"])
        words = ["edge", "run", "--org", self.org, "--join-token-file", token]
        words += ["--socket", self.socket, "--dns-name", f"edge-bot={self.host}"]
        self.daemon = subprocess.Popen(
            [self.accredit, *words, "--output", "json"],
            env=clean_environment() | {"ACCREDIT_URL": self.server.facts["url"]},
            stdout=subprocess.PIPE,
            stderr=open(self.folder / "edge.log", "wb"),
            text=True,
        )
        json.loads(self.daemon.stdout.readline())
        return self

    def __exit__(self, *_):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(SECONDS_MAX)
        self.server.stop()

    def tells(self, *words):
        """One administrator's command."""
        return json_command(self.accredit, self.server.environment(), *words)

    def process(self, program):
        """A program of the machine, and the Python that it starts."""
        address = f"unix://{self.socket}"
        return subprocess.Popen(
            [program, self.socket, sys.executable, __file__, "agent", self.host],
            env=clean_environment() | {"SPIFFE_ENDPOINT_SOCKET": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


    def runs(self, host):
        """The same Python under `accredit run`, whose certificate is to name a host."""
        words = ["run", "--agent", "edge-bot", "--dns-name", host, "--"]
        return subprocess.Popen(
            [self.accredit, *words, sys.executable, __file__, "agent", host],
            env=self.server.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def main():
    check = Checks("edge")
    with (
        tempfile.TemporaryDirectory(prefix="accredit-edge-") as folder,
        Edge(context()["accredit"], Path(folder)) as edge,
    ):
        one, two = edge.process(edge.launcher), edge.process(edge.launcher)
        said = [json.loads(program.stdout.readline() or "{}") for program in (one, two)]

        @check("each process of a program that a rule names is an instance, with what it starts")
        def _():
            for facts in said:
                holds("/agent/edge-bot/instance/ins_" in facts["spiffe_id"], facts["spiffe_id"])
                equal(facts["uris"], [facts["spiffe_id"]])
            holds(said[0]["spiffe_id"] != said[1]["spiffe_id"], "one for both")

        @check("its certificate names the host that the policy grants, and Python's ssl takes no other")
        def _():
            equal(said[0]["hosts"], [edge.host])
            equal(said[0]["met"][0], "met")
            holds("match" in said[0]["met"][1].lower(), said[0]["met"])

        @check("the same program with one byte more, and a stranger, are nobody")
        def _():
            other = edge.process(edge.other)
            equal(other.stdout.readline(), "")
            holds(other.wait(SECONDS_MAX) != 0, "it was told who it is")
            address = f"unix://{edge.socket}"
            equal(code_of(address, []), grpc.StatusCode.INVALID_ARGUMENT)
            other = [("workload.spiffe.io", "false")]
            equal(code_of(address, other), grpc.StatusCode.INVALID_ARGUMENT)
            equal(code_of(address, MEANT), grpc.StatusCode.PERMISSION_DENIED)

        @check("a revocation ends an open stream within its bound, and its sibling's goes on")
        def _():
            began = time.monotonic()
            edge.tells("revoke", said[0]["spiffe_id"].rsplit("/", 1)[1], "--reason", "interop")
            equal(json.loads(one.stdout.readline()), grpc.StatusCode.PERMISSION_DENIED.name)
            took = time.monotonic() - began
            holds(took < ENDED_SECONDS_MAX, f"after {took:.1f} s")
            equal(two.poll(), None)

        @check("a command under `accredit run` asks for a host as well, and gets none but that")
        def _():
            three = edge.runs(edge.host)
            facts = json.loads(three.stdout.readline())
            equal([facts["hosts"], facts["met"][0]], [[edge.host], "met"])
            three.terminate()
            three.wait(SECONDS_MAX)
            refused = edge.runs(f"x.{edge.host}")
            equal([refused.stdout.readline(), refused.wait(SECONDS_MAX) != 0], ["", True])

        two.kill()
    check.finish()


if __name__ == "__main__":
    agent() if sys.argv[1] == "agent" else main()
