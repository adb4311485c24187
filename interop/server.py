"""The server under test and its command line, as a user would drive them."""

import json
import os
import queue
import subprocess
import threading

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
