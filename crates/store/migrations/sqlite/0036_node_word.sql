-- What each process on a store tells the others: how far it has come in what all commit, under the
-- organization that none is called, and by organization a word about who follows it there. Where one
-- process has the store alone, no row is ever written.
CREATE TABLE node_word (
    org   TEXT    NOT NULL,
    node  TEXT    NOT NULL,
    beat  INTEGER NOT NULL,
    place INTEGER NOT NULL,
    word  TEXT    NOT NULL,
    PRIMARY KEY (org, node)
) STRICT, WITHOUT ROWID;
