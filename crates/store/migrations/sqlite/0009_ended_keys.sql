-- An agent's public keys by when they end: the live ones are few, however many have ended.
CREATE INDEX credential_agent_key ON credential (org, agent, expires_at)
    WHERE agent IS NOT NULL AND kid IS NOT NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('credential', 'credential_agent_key', '1000000 100000 10 1');
ANALYZE sqlite_schema;
