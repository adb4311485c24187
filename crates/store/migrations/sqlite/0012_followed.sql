-- Where agents' public keys are followed, and how it goes. Apart from the agents' rows: it changes
-- every hour and is no change of the agent.
CREATE TABLE followed (
    org           TEXT    NOT NULL,
    agent         TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    due_at        INTEGER NOT NULL,
    fetched_at    INTEGER,
    failing_since INTEGER,
    failure       TEXT,
    PRIMARY KEY (org, agent),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX followed_due ON followed (org, due_at);
ALTER TABLE credential ADD COLUMN followed INTEGER NOT NULL DEFAULT 0;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('followed', 'followed', '100000 10000 1'),
    ('followed', 'followed_due', '100000 10000 2 1');
ANALYZE sqlite_schema;
