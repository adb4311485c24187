-- What a user granted for a task: it has the id of a token, by which it is revoked. The task's
-- version counts for both.
CREATE TABLE task_grant (
    org                    TEXT    NOT NULL,
    task                   TEXT    NOT NULL,
    id                     TEXT    NOT NULL,
    person                 TEXT    NOT NULL,
    federation             TEXT    NOT NULL,
    issuer                 TEXT    NOT NULL,
    subject                TEXT    NOT NULL,
    rules                  TEXT    NOT NULL,
    permissions            TEXT    NOT NULL,
    instance               TEXT,
    person_suspensions     INTEGER NOT NULL,
    federation_suspensions INTEGER NOT NULL,
    revoked                INTEGER NOT NULL,
    granted_at             INTEGER NOT NULL,
    expires_at             INTEGER NOT NULL,
    PRIMARY KEY (org, task),
    FOREIGN KEY (org, task) REFERENCES task (org, id),
    FOREIGN KEY (org, person) REFERENCES person (org, id),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX task_grant_id ON task_grant (org, id);

-- How many live tasks one agent has.
CREATE INDEX task_live_agent ON task (org, agent, expires_at) WHERE state = 'active';

-- How often somebody was suspended: what hung on them then hangs on them no more.
ALTER TABLE person ADD COLUMN suspensions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE federation ADD COLUMN suspensions INTEGER NOT NULL DEFAULT 0;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('task_grant', 'task_grant', '1000000 100000 1'),
    ('task_grant', 'task_grant_id', '1000000 100000 1'),
    ('task', 'task_live_agent', '1000000 100000 10 2');
ANALYZE sqlite_schema;
