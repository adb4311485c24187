-- What creating requests made, without secrets, for their repetition under the same key. Kept
-- under the caller's organization; the key and what was asked for are there as hashes alone.
CREATE TABLE answer (
    org    TEXT    NOT NULL,
    caller TEXT    NOT NULL,
    key    BLOB    NOT NULL,
    asked  BLOB    NOT NULL,
    object TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (org, caller, key)
) STRICT, WITHOUT ROWID;
