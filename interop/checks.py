"""Counting checks: each runs, prints one line, and a failed one does not hide the next."""

import json
import sys
import traceback


class Checks:
    """The checks of one script and how many passed."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = 0

    def __call__(self, what):
        """Runs the decorated function at once; it passes unless it raises. Returns its result."""

        def run(function):
            try:
                result = function()
            except Exception as error:  # every failure of a check is reported, none is fatal
                self.failed += 1
                print(f"  FAILED {what}: {type(error).__name__}: {error}")
                traceback.print_exc(limit=-3, file=sys.stdout)
                return None
            self.passed += 1
            print(f"  ok {what}")
            return result

        return run

    def finish(self):
        """Prints the count and exits: 0 when something was checked and nothing failed."""
        print(f"{self.name}: {self.passed} passed, {self.failed} failed")
        sys.exit(0 if self.passed and not self.failed else 1)


def equal(found, wanted):
    """Fails unless both are equal, and shows both."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def holds(condition, otherwise):
    """Fails with `otherwise` unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def refused(kind, function):
    """Calls the function, which must raise `kind`, and returns what it raised."""
    try:
        result = function()
    except kind as error:
        return error
    raise AssertionError(f"was accepted: {result!r}")


def context():
    """What `run.py` registered: the JSON file named by the first argument."""
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)
