-- What follows a credential that was rotated.
ALTER TABLE credential ADD COLUMN successor TEXT;

-- When a signing key came into its state; nothing for one that is in its first.
ALTER TABLE signing_key ADD COLUMN changed_at INTEGER;

-- After how many days an agent's own credential is to be rotated, and for which due time somebody
-- was warned.
ALTER TABLE agent ADD COLUMN rotation_days INTEGER NOT NULL DEFAULT 30;
ALTER TABLE agent ADD COLUMN rotation_warned_for INTEGER;

-- An agent may have many instances with a credential each, and has few of its own.
CREATE INDEX credential_own ON credential (org, agent, id)
    WHERE agent IS NOT NULL AND instance IS NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('credential', 'credential_own', '1000000 100000 3 1');
ANALYZE sqlite_schema;
