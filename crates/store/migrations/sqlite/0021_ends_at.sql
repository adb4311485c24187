-- When a revocation ends by itself and what it suspended goes on; nothing for one that does not.
ALTER TABLE revocation ADD COLUMN ends_at INTEGER;
CREATE INDEX revocation_ends ON revocation (org, ends_at) WHERE ends_at IS NOT NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('revocation', 'revocation_ends', '100 10 2');
ANALYZE sqlite_schema;
