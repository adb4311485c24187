-- The organization leads every key: it is what a shard is cut by. Ids and JSON are text, times are
-- integer microseconds. Rows of nouns are never deleted, so that no name is ever used twice.

CREATE TABLE installation (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    public_url TEXT    NOT NULL
) STRICT;

CREATE TABLE pepper (
    version INTEGER NOT NULL PRIMARY KEY,
    wrapped BLOB    NOT NULL
) STRICT;

-- One row that the readiness check writes.
CREATE TABLE heartbeat (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    beats INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat (id, beats) VALUES (1, 0);

CREATE TABLE organization (
    org          TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    display_name TEXT,
    issuer       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    rev          INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    version      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE person (
    org        TEXT    NOT NULL REFERENCES organization (org),
    id         TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    name       TEXT,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, email)
) STRICT, WITHOUT ROWID;

CREATE TABLE resource (
    org                 TEXT    NOT NULL REFERENCES organization (org),
    id                  TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    audience            TEXT    NOT NULL,
    actions             TEXT    NOT NULL,
    state               TEXT    NOT NULL,
    revocations_age_max INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    version             INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, audience),
    UNIQUE (org, name)
) STRICT, WITHOUT ROWID;

-- What an agent may do stands in its row: issuing reads one row for one agent.
CREATE TABLE agent (
    org              TEXT    NOT NULL REFERENCES organization (org),
    id               TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    owner            TEXT,
    purpose          TEXT,
    environment      TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    permissions      TEXT    NOT NULL,
    default_scope    TEXT,
    may_delegate     INTEGER NOT NULL,
    token_lifetime   INTEGER NOT NULL,
    review_due_at    INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    last_reviewed_at INTEGER,
    version          INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name),
    FOREIGN KEY (org, owner) REFERENCES person (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_owner ON agent (org, owner);

CREATE TABLE instance (
    org        TEXT    NOT NULL REFERENCES organization (org),
    id         TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    name       TEXT,
    state      TEXT    NOT NULL,
    credential TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    version    INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX instance_agent ON instance (org, agent, id);

-- The holder: an agent; an agent and its instance; a resource; or, with permissions, an
-- administrator. The proof: a MAC under a pepper, or a public key.
CREATE TABLE credential (
    org         TEXT    NOT NULL REFERENCES organization (org),
    id          TEXT    NOT NULL,
    agent       TEXT,
    instance    TEXT,
    resource    TEXT,
    permissions TEXT,
    pepper      INTEGER,
    mac         BLOB,
    kid         TEXT,
    jwk         TEXT,
    state       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, resource) REFERENCES resource (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX credential_agent ON credential (org, agent, id) WHERE agent IS NOT NULL;
CREATE INDEX credential_instance ON credential (org, instance, id) WHERE instance IS NOT NULL;
CREATE INDEX credential_resource ON credential (org, resource, id) WHERE resource IS NOT NULL;
CREATE INDEX credential_agent_kid ON credential (org, agent, kid)
    WHERE agent IS NOT NULL AND kid IS NOT NULL;

-- An administrator names no organization: this is the one key that does not begin with it.
CREATE TABLE admin_key (
    id  TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organization (org)
) STRICT, WITHOUT ROWID;

-- Every public key that was ever registered. A key has one holder, for ever.
CREATE TABLE key_holder (
    org        TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    credential TEXT NOT NULL,
    PRIMARY KEY (org, thumbprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
    org        TEXT    NOT NULL REFERENCES organization (org),
    id         TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    algorithm  TEXT    NOT NULL,
    public     BLOB    NOT NULL,
    wrapped    BLOB    NOT NULL,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE revocation (
    org        TEXT    NOT NULL REFERENCES organization (org),
    rev        INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    revoked_at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (org, rev)
) STRICT, WITHOUT ROWID;

-- Use times stand apart from the rows they belong to: writing one changes no version.
CREATE TABLE use_time (
    org TEXT    NOT NULL,
    id  TEXT    NOT NULL,
    at  INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE spent (
    org    TEXT    NOT NULL,
    client TEXT    NOT NULL,
    hash   BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (org, client, hash)
) STRICT, WITHOUT ROWID;

-- Where a lane stands: every batch updates it on the condition that it is as it was seen.
CREATE TABLE lane (
    org        TEXT    NOT NULL REFERENCES organization (org),
    lane       INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    next       INTEGER NOT NULL,
    previous   BLOB    NOT NULL,
    last_at    INTEGER NOT NULL,
    fence      INTEGER NOT NULL,
    PRIMARY KEY (org, lane)
) STRICT, WITHOUT ROWID;

-- Each fact once, in the order of the log, without a further index: one descent to the right edge
-- for each event. The digest stands here only once salt and payload were pruned.
CREATE TABLE event (
    org     TEXT    NOT NULL,
    lane    INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    digest  BLOB,
    salt    BLOB,
    payload TEXT,
    PRIMARY KEY (org, lane, seq)
) STRICT;

CREATE TABLE tile (
    org    TEXT    NOT NULL,
    lane   INTEGER NOT NULL,
    level  INTEGER NOT NULL,
    place  INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (org, lane, level, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    org  TEXT    NOT NULL,
    lane INTEGER NOT NULL,
    size INTEGER NOT NULL,
    note TEXT    NOT NULL,
    PRIMARY KEY (org, lane, size)
) STRICT, WITHOUT ROWID;

-- What the planner is to expect. Without numbers it takes an organization for ten rows and reads
-- all of its credentials to find one agent's; with numbers measured at some moment, plans would
-- change from one day to the next. So they are given: many rows, few of them for one holder.
ANALYZE;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('agent', 'agent', '1000000 100000 1'),
    ('agent', 'agent_owner', '1000000 100000 10'),
    ('instance', 'instance', '1000000 100000 1'),
    ('instance', 'instance_agent', '1000000 100000 10 1'),
    ('credential', 'credential', '1000000 100000 1'),
    ('credential', 'credential_agent', '1000000 100000 10 1'),
    ('credential', 'credential_instance', '1000000 100000 2 1'),
    ('credential', 'credential_resource', '1000000 100000 2 1'),
    ('credential', 'credential_agent_kid', '1000000 100000 10 1');
ANALYZE sqlite_schema;
