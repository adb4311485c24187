-- When the job of rotation is to look at an agent: set by whatever changes when its credential is due,
-- and moved on by the job. Nothing for one that needs no look until something about it changes.
ALTER TABLE agent ADD COLUMN look_at INTEGER;
UPDATE agent SET look_at = 0;
CREATE INDEX agent_look ON agent (org, look_at) WHERE look_at IS NOT NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('agent', 'agent_look', '1000000 100000 2 1');
ANALYZE sqlite_schema;
