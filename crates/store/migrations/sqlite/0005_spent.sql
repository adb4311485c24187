-- Single-use values in the order in which they were used, so that those of a batch share a page:
-- which were used is asked of memory, not of this table.
ALTER TABLE spent RENAME TO spent_by_value;
CREATE TABLE spent (
    org    TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    client TEXT    NOT NULL,
    hash   BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (org, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO spent (org, seq, client, hash, until)
    SELECT org, row_number() OVER (PARTITION BY org ORDER BY until) - 1, client, hash, until
    FROM spent_by_value;
DROP TABLE spent_by_value;
