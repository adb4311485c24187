-- What a batch changed, for other nodes on the same store: which facts they are to forget or read
-- again, in one order for the whole installation. Where one process has the store alone, no row is
-- ever written.
CREATE TABLE change_head (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    place INTEGER NOT NULL
) STRICT;
INSERT INTO change_head (id, place) VALUES (1, 0);

CREATE TABLE change (
    place       INTEGER NOT NULL PRIMARY KEY,
    org         TEXT,
    rev         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    what        INTEGER NOT NULL,
    tags        BLOB NOT NULL,
    credentials TEXT NOT NULL
) STRICT;
