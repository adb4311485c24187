-- Certificates of instances while they hold, with what each hangs on: the keys of its ids, 16 bytes each.
CREATE TABLE certificate (
    org        TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    instance   TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    spiffe_id  TEXT COLLATE "C" NOT NULL,
    number     BYTEA NOT NULL,
    digest     BYTEA NOT NULL,
    rev        BIGINT NOT NULL,
    lineage    BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (org, instance, id),
    UNIQUE (org, agent, id),
    UNIQUE (org, id)
);
