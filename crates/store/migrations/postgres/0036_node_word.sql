-- What each process on a store tells the others: how far it has come in what all commit, under the
-- organization that none is called, and by organization a word about who follows it there. Where one
-- process has the store alone, no row is ever written.
CREATE TABLE node_word (
    org   TEXT COLLATE "C" NOT NULL,
    node  TEXT COLLATE "C" NOT NULL,
    beat  BIGINT NOT NULL,
    place BIGINT NOT NULL,
    word  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, node)
);
