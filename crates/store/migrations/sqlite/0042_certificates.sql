-- Certificates of instances while they hold, with what each hangs on: the keys of its ids, 16 bytes each.
CREATE TABLE certificate (
    org        TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    instance   TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    spiffe_id  TEXT    NOT NULL,
    number     BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    rev        INTEGER NOT NULL,
    lineage    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (org, instance, id),
    UNIQUE (org, agent, id),
    UNIQUE (org, id)
) STRICT, WITHOUT ROWID;
