#!/usr/bin/env python3
"""Verifies an Accredit audit export offline, without any Accredit code.

usage: python3 verify_log.py EXPORT KEYFILE [OLDER_CHECKPOINT]

EXPORT is the NDJSON file, KEYFILE has a verifier key a line (C2SP signed-note, `#` comments), and
OLDER_CHECKPOINT is a signed checkpoint kept from an earlier day, which the export must continue.
Prints one JSON line and exits 0 (nothing found) or 9 (something found). "complete" is false where
a log does not begin at event 0 or has no signed root, where only the links from event to event were
checked, or where what one lane says of another could not be compared. Needs the package `cryptography` for Ed25519; everything else is the standard library.
"""
import base64, hashlib, heapq, json, re, sys, unicodedata
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NUMBER = r"(0|[1-9][0-9]*)"
EVENT = re.compile(
    r'\{"event":\{"lane":' + NUMBER + r',"seq":' + NUMBER + r',"id":"(evt_[0-9a-z]{26})"'
    r',"type":"([a-z0-9._-]{1,64})","at":(0|-?[1-9][0-9]*),"leaf":"([0-9a-f]{64})",'
    r'(?:"salt":"([A-Za-z0-9_-]{22})","payload":(\{.*\})|"digest":"([0-9a-f]{64})")\}\}')
END = re.compile(r'\{"end":\{"events":' + NUMBER + r"\}\}")
BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
CLAIM = re.compile(r"([^\s+]+) ([1-9][0-9]*) ([0-9a-f]{64})")
CHECKPOINTED, GENERATION_STARTED = "log.checkpointed", "log.generation_started"
ROOTS_KEPT_MAX = CLAIMS_WAITING_MAX = 1 << 18  # of all lanes together, each its part

def demand(condition):
    if not condition: raise ValueError  # the bytes do not follow their format

def sha256(*parts): return hashlib.sha256(b"".join(parts)).digest()

def exact_base64(text, urlsafe=False):
    """Decodes base64 and refuses every spelling but the one."""
    alphabet, pad = (b"-_", "=" * (-len(text) % 4)) if urlsafe else (b"+/", "")
    raw = base64.b64decode(text + pad, altchars=alphabet, validate=True)
    demand(base64.b64encode(raw, altchars=alphabet).decode() == text + pad)
    return raw

def parse_json(text):
    """JSON without repeated members."""
    def members(pairs): return dict(pairs) if len(dict(pairs)) == len(pairs) else demand(False)
    return json.loads(text, object_pairs_hook=members)

def claims_of(kind, payload):
    """What an event says of other lanes, each (origin, size, root)."""
    def member(pairs, name):
        demand(type(pairs) is list)
        values = [value for key, value in pairs if key == name]
        demand(len(values) <= 1)
        return values[0] if values else None
    changes = member(json.loads(payload, object_pairs_hook=list), "changes")
    lines = member(changes, "checkpoints") if changes is not None else None
    if lines in (None, ""): return [] if kind == GENERATION_STARTED else demand(False)
    demand(type(lines) is str and lines.count("\n") < 64)
    found = [CLAIM.fullmatch(line) for line in lines.split("\n")]
    demand(all(found) and all(int(claim[2]) < 1 << 64 for claim in found))
    return [(claim[1], int(claim[2]), bytes.fromhex(claim[3])) for claim in found]

class Key:
    """`name+key id in hex+base64(0x01 || key)`"""
    def __init__(self, line):
        self.name, key_id, blob = line.split("+", 2)
        self.id, blob = bytes.fromhex(key_id), exact_base64(blob)
        demand(len(blob) == 33 and blob[0] == 1)
        demand(self.id == sha256(self.name.encode(), b"\n", blob)[:4])
        self.blob, self.key = blob, Ed25519PublicKey.from_public_bytes(blob[1:])

    def named(self, name):
        """The same key under another name."""
        key_id = sha256(name.encode(), b"\n", self.blob)[:4]
        return Key(f"{name}+{key_id.hex()}+{base64.b64encode(self.blob).decode()}")

def open_note(note, keys):
    """Signed note to (text, names of its signers); every signature of a known key must hold."""
    demand(not any(unicodedata.category(c) == "Cc" and c != "\n" for c in note))
    demand(len(note.encode()) <= 128 * 1024 and "\n\n" in note and note.endswith("\n"))
    end, signers = note.rindex("\n\n") + 1, set()
    text, lines = note[:end], note[end + 1:-1].split("\n")
    demand(len(lines) <= 32)
    for mark, name, blob in (line.split(" ") for line in lines):
        blob = exact_base64(blob)
        demand(mark == "\u2014" and name and "+" not in name and len(blob) > 4)
        for key in keys:
            if (key.name, key.id) == (name, blob[:4]):
                key.key.verify(blob[4:], text.encode())
                signers.add(name)
    demand(signers)
    return text, signers

def open_checkpoint(note, keys):
    """Signed note to (origin, size, root)."""
    text, signers = open_note(note, keys)
    origin, size, root, *extensions = text[:-1].split("\n")
    demand(origin in signers and all(extensions) and re.fullmatch(NUMBER, size))
    demand(int(size) < 1 << 64 and len(exact_base64(root)) == 32)
    return origin, int(size), exact_base64(root)

def successors(keys, issuer, origin, statements):
    """The keys that those of a log name as their successors, one after another, in statements."""
    name, known = issuer + "/log", {key.blob for key in keys if key.name == origin}
    believed = [key.named(name) for key in keys if key.name == origin]
    given = len(believed)
    for statement in statements:
        try:
            text, _ = open_note(statement, believed)
            of, kind, line, end = text.split("\n")
            key = Key(line)
            demand((of, kind, end, key.name) == (name, "accredit log key succession v1", "", name))
        except (ValueError, TypeError, InvalidSignature):
            continue
        if key.blob not in known:
            known.add(key.blob)
            believed.append(key)
    return [key.named(origin) for key in believed[given:]]

def event_id(micros, lane, seq):
    """A UUIDv7 of the time, with lane and sequence number in place of random bits."""
    bits = (max(micros, 0) // 1000 & (1 << 48) - 1) << 80 | 7 << 76 | (lane & 0xFFF) << 64 | 2 << 62 | seq
    return "evt_" + "".join(BASE32[bits >> 5 * n & 31] for n in reversed(range(26)))

# An RFC 6962 tree is the tuple of its complete subtrees at the right edge, each (size, root).
def with_leaf(tree, leaf, size=1):
    if tree is None: return None  # unknown, and stays so
    while tree and tree[-1][0] == size:
        leaf, size, tree = sha256(b"\x01", tree[-1][1], leaf), size * 2, tree[:-1]
    return tree + ((size, leaf),)

def root_of(tree):
    root = tree[-1][1] if tree else sha256()
    for _, left in reversed(tree[:-1]): root = sha256(b"\x01", left, root)
    return root

class Lane:
    def __init__(self, header, issuer, lanes):
        demand(set(header) - {"previous"} == {"lane", "origin", "from"})
        self.number, self.origin, self.start = header["lane"], header["origin"], header["from"]
        demand(type(self.number) is type(self.start) is int)
        demand(0 <= self.number < 4096 and 0 <= self.start < 1 << 62)
        demand(re.fullmatch(re.escape(issuer) + r"/log/[^\s+]+", self.origin))
        previous = header.get("previous", "0" * 64)
        demand(("previous" in header) == (self.start > 0) and re.fullmatch("[0-9a-f]{64}", previous))
        self.previous = bytes.fromhex(previous)      # the leaf before; None: unknown, behind a gap
        self.tree = () if self.start == 0 else None  # None: the root cannot be known
        self.next, self.signed, self.good = self.start, self.start, 0
        self.doubt = None                # the last leaf, recorded and computed, where they differ
        self.broken, self.gaps = [], []  # findings: links since the last good root, missing events
        self.roots, self.waiting = {}, []  # signed roots by size; claims about events still to come
        self.roots_max, self.waiting_max = max(ROOTS_KEPT_MAX // lanes, 1), max(CLAIMS_WAITING_MAX // lanes, 1)
        self.came = self.compared = self.not_compared = 0
        self.contradicted = False

    def event(self, seq, event, found):
        """Checks one event's place, id and leaf; of what is wrong, names the exact event. True where it
        is as it was logged, as far as that is known yet."""
        lane, (name, kind, at, leaf, digest) = self.number, event
        right_id = name == event_id(at, lane, seq)
        if seq != self.next:
            if not right_id: return found("wrong_id", lane, seq)
            if seq < self.next:  # the event is late: what looked like a loss is a disorder
                gap = [gap for gap in self.gaps if gap["seq"] <= seq <= gap["until"]]
                if not gap: return found("reordered", lane, seq)
                self.gaps.remove(gap[0])
                return gap[0].update(kind="reordered", seq=seq, until=None)
            self.gap(seq, found)
        def computed(previous):
            return sha256(b"\x00\x01", seq.to_bytes(8, "big"), previous, len(kind).to_bytes(2, "big"),
                          kind.encode(), at.to_bytes(8, "big", signed=True), digest)
        whole = self.previous is None or computed(self.previous) == leaf
        if self.doubt:  # which of the two hashes does this event continue?
            relinked = not whole and computed(self.doubt[1]) == leaf
            self.tree = with_leaf(self.tree, self.doubt[1 if relinked else 0])
            whole, self.doubt = whole or relinked, None
        if whole:
            self.tree = with_leaf(self.tree, leaf)
            if not right_id: found("wrong_id", lane, seq)
        else:
            self.doubt = (leaf, computed(self.previous))
            self.broken.append(found("edited", lane, seq))
        self.previous, self.next = leaf, seq + 1
        self.settle(found)
        return whole

    def claimed(self, by, size, root, found):
        """What the event `by` says of this lane: compared, or kept until so much was read."""
        if size <= self.next: return self.compare(by, size, root, self.roots.get(size) or self.root_of(size), found)
        heapq.heappush(self.waiting, (size, self.came, by, root))
        self.came += 1
        if len(self.waiting) > self.waiting_max:  # a larger size says more
            heapq.heappop(self.waiting)
            self.not_compared += 1

    def settle(self, found):
        while self.waiting and self.waiting[0][0] <= self.next:
            size, _, by, root = heapq.heappop(self.waiting)
            self.compare(by, size, root, self.root_of(size), found)

    def root_of(self, size):
        """The root of the events up to here, if that is their number and it is beyond doubt."""
        known = size == self.next and self.tree is not None and not self.doubt
        return root_of(self.tree) if known else None

    def compare(self, by, size, root, own, found):
        if own is None: self.not_compared += 1
        else: self.compared += 1
        if own in (None, root) or self.contradicted: return
        self.contradicted = True
        found("lane_rewritten", *by, other=self.number, origin=self.origin, size=size)

    def gap(self, to, found):
        self.gaps.append(found("dropped", self.number, self.next, until=to - 1))
        self.next, self.previous, self.doubt, self.tree = to, None, None, None

    def root(self, kind, size, root, found):
        """Compares a signed root with the events up to here."""
        if self.tree is None: return
        leaves = self.doubt[::-1] if self.doubt else ()
        trees = [(with_leaf(self.tree, leaf), leaf) for leaf in leaves] or [(self.tree, self.previous)]
        match = [pair for pair in trees if root_of(pair[0]) == root]
        self.tree, self.previous = match[0] if match else (None, trees[-1][1])
        if not match:
            if len(self.broken) == 1 and self.broken[0]["seq"] > self.good:
                self.broken[0]["seq"] -= 1  # the link is right; the leaf before it was computed anew
            found(kind, self.number, None, good=self.good, bad=size)
        self.good = size if match else self.good
        self.doubt, self.broken = None, []

def verify(lines, keys, kept):
    """Returns (findings, number of events, whether every log was proven from its beginning, how many
    claims of lanes about each other were compared and how many were not)."""
    findings, lanes, events, ended, missing = [], {}, 0, False, []
    def found(kind, lane=None, seq=None, **more):
        findings.append({"kind": kind, "lane": lane, "seq": seq, **more})
        return findings[-1]
    for number, line in enumerate(lines, 1):
        try:
            demand(len(line.encode()) <= 1024 * 1024 and not ended)
            if number == 1:
                header = parse_json(line)
                demand({"accredit_export", "issuer", "lanes"} <= set(header))
                demand(set(header) <= {"accredit_export", "issuer", "lanes", "statements"})
                statements = header.get("statements", [])
                demand(len(statements) <= 64 and all(type(text) is str for text in statements))
                version, (scheme, issuer) = header["accredit_export"], header["issuer"].split("://", 1)
                demand(type(version) is int and version == 1 and scheme in ("https", "http"))
                listed = [Lane(lane, issuer, len(header["lanes"])) for lane in header["lanes"]]
                numbers = [lane.number for lane in listed]
                demand(numbers == sorted(set(numbers)))
                lanes = dict(zip(numbers, listed))
                keys = keys + [key for lane in listed for key in successors(keys, issuer, lane.origin, statements)]
            elif line.startswith('{"event":'):
                match = EVENT.fullmatch(line)
                demand(match)
                lane, seq, name, kind, at, leaf, salt, payload, digest = match.groups()
                demand(int(lane) in lanes and int(seq) < 1 << 62 and -1 << 63 <= int(at) < 1 << 63)
                if payload: json.loads(payload, parse_constant=lambda _: demand(False))
                # The payload's bytes as they stand in the line, never a re-encoding of them.
                digest = bytes.fromhex(digest) if digest else sha256(exact_base64(salt, True), payload.encode())
                lane, events = lanes[int(lane)], events + 1
                before = lane.next
                whole = lane.event(int(seq), (name, kind, int(at), bytes.fromhex(leaf), digest), found)
                if kept and lane.next > before and kept[:2] == (lane.origin, lane.next):
                    lane.root("rewritten", *kept[1:], found)
                if whole is not True or kind not in (CHECKPOINTED, GENERATION_STARTED): continue
                if not payload:  # of a generation, earlier versions pruned it
                    if kind == CHECKPOINTED: found("claim_erased", lane.number, int(seq))
                    continue
                named = {lane.origin: lane for lane in lanes.values()}
                for origin, size, root in claims_of(kind, payload):
                    if origin in named: named[origin].claimed((lane.number, int(seq)), size, root, found)
                    elif origin not in missing:
                        missing.append(origin)
                        found("lane_missing", lane.number, int(seq), origin=origin, size=size)
            elif line.startswith('{"checkpoint":"'):
                note = parse_json(line)
                demand(set(note) == {"checkpoint"})
                named = {lane.origin: lane for lane in lanes.values()}
                lane = named.get(note["checkpoint"].split("\n")[0])
                try: origin, size, root = open_checkpoint(note["checkpoint"], keys)
                except (ValueError, InvalidSignature):
                    found("bad_signature", lane and lane.number, line=number)
                    continue
                demand(lane and size >= lane.next)
                if size > lane.next:
                    lane.gap(size, found)
                    lane.settle(found)
                lane.signed = size
                lane.root("root_mismatch", size, root, found)
                if lane.tree is not None: lane.roots[size] = root
                if len(lane.roots) > lane.roots_max: del lane.roots[next(iter(lane.roots))]
            else:
                match = END.fullmatch(line)
                demand(match)
                ended = True
                if int(match[1]) != events: found("wrong_count")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            found("malformed", line=number)
    if not ended: found("missing_end")
    for lane in lanes.values():
        if lane.signed < lane.next: found("unsigned_tail", lane.number, lane.signed)
        if lane.waiting:
            size, _, by, _ = max(lane.waiting)
            lane.compared += len(lane.waiting)
            found("lane_short", *by, other=lane.number, origin=lane.origin, size=size, has=lane.next)
        if not kept or kept[0] != lane.origin: continue
        if kept[1] > lane.next: found("truncated", lane.number, lane.next)
        elif lane.start and kept[1]: found("not_comparable", lane.number, lane.start)
    if kept and kept[1] and kept[0] not in [lane.origin for lane in lanes.values()]: found("truncated", None, 0)
    proven = [lane.tree is not None and lane.good == lane.signed == lane.next for lane in lanes.values()]
    compared = sum(lane.compared for lane in lanes.values()) + len(missing)
    not_compared = sum(lane.not_compared for lane in lanes.values())
    return findings, events, bool(proven) and all(proven) and not not_compared, (compared, not_compared)

def main(export, keyfile, older=None):
    with open(keyfile, encoding="utf-8") as file:
        keys = [Key(line.strip()) for line in file if line.strip() and not line.startswith("#")]
    kept = open_checkpoint(open(older, "rb").read().decode(), keys) if older else None
    with open(export, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        found = verify((line.removesuffix("\n") for line in file), keys, kept)
    findings, events, complete, (compared, not_compared) = found
    print(json.dumps({"ok": not findings, "complete": complete, "events": events,
                      "claims": {"compared": compared, "not_compared": not_compared},
                      "finding": findings[0] if findings else None}))
    return 9 if findings else 0

if __name__ == "__main__":
    if len(sys.argv) not in (3, 4): sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
