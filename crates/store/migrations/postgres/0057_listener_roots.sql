-- The roots of the authority by which the listener speaks TLS, which is no organization's: one that signs, and
-- one that follows it.
CREATE TABLE listener_root (
    slot        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    id          TEXT COLLATE "C" NOT NULL,
    public      BYTEA NOT NULL,
    wrapped     BYTEA NOT NULL,
    certificate BYTEA NOT NULL
);
