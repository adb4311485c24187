-- Whether the tokens of a resource have places in status lists, and the place of each that verifiers
-- may still take: what it hangs on is the keys of its ids, 16 bytes each.
ALTER TABLE resource ADD COLUMN status_list INTEGER NOT NULL DEFAULT 0;
CREATE TABLE status_place (
    org     TEXT    NOT NULL,
    list    TEXT    NOT NULL,
    idx     INTEGER NOT NULL,
    rev     INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    lineage BLOB    NOT NULL,
    PRIMARY KEY (org, list, idx)
) STRICT, WITHOUT ROWID;
-- What is over is found by its time.
CREATE INDEX status_place_until ON status_place (until);
