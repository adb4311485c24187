"""spiffe (py-spiffe) and Python's `ssl`: an agent in Python and one with our library are peers."""

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from checks import Checks, context, equal, holds
from server import clean_environment, json_command

SECONDS_MAX = 20
CLOSED_SECONDS_MAX = 3  # the feed's milliseconds, and some for a busy machine


def agent(port):
    """A planner under `accredit run`: hands over a task, and says how its connection ends."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from spiffe import WorkloadApiClient

    with WorkloadApiClient() as client:
        svid = client.fetch_x509_svid()
        bundles = client.fetch_x509_bundles()
    roots = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False  # whom it is with is a SPIFFE ID, which is looked at below
    tls.load_verify_locations(cadata="".join(pem(root) for root in roots))
    with tempfile.TemporaryDirectory() as folder:  # Python takes certificates from files alone
        path = os.path.join(folder, "svid.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            key = svid.private_key
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write("".join(pem(one) for one in svid.cert_chain).encode())
        tls.load_cert_chain(path)
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as plain,
        tls.wrap_socket(plain, suppress_ragged_eofs=False) as stream,
    ):
        names = [value for kind, value in stream.getpeercert()["subjectAltName"] if kind == "URI"]
        task = b"count"
        head = f"POST /tasks HTTP/1.1\r\nhost: worker\r\ncontent-length: {len(task)}\r\n\r\n"
        stream.sendall(head.encode() + task)
        answer = stream.recv(4096).decode()
        print(json.dumps({"id": str(svid.spiffe_id), "peer": names, "answer": answer}), flush=True)
        try:
            print(json.dumps({"end": "well" if stream.recv(1) == b"" else "more"}), flush=True)
        except (ssl.SSLError, ConnectionError) as error:
            print(json.dumps({"end": type(error).__name__}), flush=True)


def pem(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def main():
    facts = context()
    environment = clean_environment() | {
        "ACCREDIT_URL": facts["url"],
        "ACCREDIT_TOKEN": facts["admin_token"],
    }
    check = Checks("agents")

    def accredit(*words):
        return json_command(facts["accredit"], environment, *words)

    for name in ["worker", "planner"]:
        words = ["--owner", "mia@example.com", "--purpose", "to be a peer", "--allow", "crm:read"]
        accredit("agent", "create", name, *words, "--activate")
    worker = accredit("instance", "create", "--agent", "worker")
    settings = {
        "ISSUER": facts["issuer"],
        "AUDIENCE": facts["crm"]["audience"],
        "RESOURCE_SECRET": facts["crm"]["client_secret"],
        "WORKER": worker["client_id"],
        "WORKER_SECRET": worker["client_secret"],
    }
    serving = subprocess.Popen(
        [facts["two_agents"]],
        env=clean_environment() | {f"EXAMPLE_{name}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        text=True,
    )
    port = serving.stdout.readline().strip().rsplit(":", 1)[1]

    def planner(agent="planner"):
        run = [facts["accredit"], "run", "--agent", agent, "--"]
        return subprocess.Popen(
            [*run, sys.executable, __file__, "agent", port],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(process):
        return json.loads(process.stdout.readline() or "{}")

    running, sibling = planner(), planner()
    first, other = said(running), said(sibling)

    @check("an SVID of the Workload API is a peer's, on both sides")
    def _():
        for one in (first, other):
            holds("/agent/planner/instance/ins_" in one["id"], one)
            equal(len(one["peer"]), 1)
            holds("/agent/worker/instance/ins_" in one["peer"][0], one)
            holds(one["answer"].endswith("count: done for planner"), one)

    @check("the open connection of a revoked instance is cut off")
    def _():
        began = time.monotonic()
        accredit("revoke", first["id"].rsplit("/", 1)[1], "--reason", "a test")
        holds(said(running)["end"] not in ("well", "more"), "it ended as if all were well")
        holds(time.monotonic() - began < CLOSED_SECONDS_MAX, time.monotonic() - began)

    @check("its sibling's is not")
    def _():
        holds(sibling.poll() is None, "its sibling has ended, too")
        another = planner()
        holds("answer" in said(another), "no other one is made")
        another.terminate()

    @check("an agent that is not expected gets no connection")
    def _():
        stranger = planner("worker")
        equal(said(stranger), {})
        holds(stranger.wait(SECONDS_MAX) != 0, "it ended well")

    for process in (running, sibling, serving):
        process.terminate()
    check.finish()


if __name__ == "__main__":
    agent(int(sys.argv[2])) if sys.argv[1] == "agent" else main()
