-- The roots of the authority by which the listener speaks TLS, which is no organization's: one that signs, and
-- one that follows it.
CREATE TABLE listener_root (
    slot        TEXT NOT NULL PRIMARY KEY,
    id          TEXT NOT NULL,
    public      BLOB NOT NULL,
    wrapped     BLOB NOT NULL,
    certificate BLOB NOT NULL
) STRICT, WITHOUT ROWID;
