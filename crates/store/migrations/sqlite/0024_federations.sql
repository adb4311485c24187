-- External issuers of persons' tokens, their keys as they were last had, and who a person is there.
-- Keys stand apart: they change by themselves and are no change of the federation.
CREATE TABLE federation (
    org        TEXT    NOT NULL REFERENCES organization (org),
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    jwks_url   TEXT,
    audiences  TEXT    NOT NULL,
    rules      TEXT    NOT NULL,
    provision  INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name),
    UNIQUE (org, issuer)
) STRICT, WITHOUT ROWID;
CREATE INDEX federation_state ON federation (org, state);
CREATE INDEX federation_state_name ON federation (org, state, name);

CREATE TABLE federation_keys (
    org           TEXT    NOT NULL,
    federation    TEXT    NOT NULL,
    keys          TEXT,
    due_at        INTEGER NOT NULL,
    fetched_at    INTEGER,
    failing_since INTEGER,
    failure       TEXT,
    PRIMARY KEY (org, federation),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX federation_keys_due ON federation_keys (org, due_at);

CREATE TABLE person_identity (
    org        TEXT    NOT NULL,
    federation TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    person     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, federation, subject),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id),
    FOREIGN KEY (org, person) REFERENCES person (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX person_identity_person ON person_identity (org, person, federation, subject);

-- What a person may do by grant. A person without an address has its id in its place.
ALTER TABLE person ADD COLUMN permissions TEXT NOT NULL DEFAULT '[]';

-- How many federations an organization has: they count for ever, as their names do.
INSERT INTO holding (org, noun, held, expired_to) SELECT org, 'federations', 0, 0 FROM organization;
DROP TRIGGER organization_holds;
CREATE TRIGGER organization_holds AFTER INSERT ON organization BEGIN
    INSERT INTO holding (org, noun, held, expired_to) VALUES
        (new.org, 'agents', 0, 0), (new.org, 'persons', 0, 0), (new.org, 'resources', 0, 0),
        (new.org, 'instances', 0, 0), (new.org, 'credentials', 0, 0),
        (new.org, 'admin_keys', 0, 0), (new.org, 'tasks', 0, 0), (new.org, 'federations', 0, 0);
END;
CREATE TRIGGER federation_held AFTER INSERT ON federation BEGIN
    UPDATE holding SET held = held + 1 WHERE org = new.org AND noun = 'federations';
END;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('federation', 'federation', '1000000 100000 1'),
    ('federation', 'sqlite_autoindex_federation_2', '1000000 100000 1'),
    ('federation', 'sqlite_autoindex_federation_3', '1000000 100000 1'),
    ('federation', 'federation_state', '1000000 100000 10000 1'),
    ('federation', 'federation_state_name', '1000000 100000 10000 1 1'),
    ('federation_keys', 'federation_keys', '100 10 1'),
    ('federation_keys', 'federation_keys_due', '100 10 2 1'),
    ('person_identity', 'person_identity', '1000000 100000 10000 1'),
    ('person_identity', 'person_identity_person', '1000000 100000 2 2 1');
ANALYZE sqlite_schema;
