-- From whom an instance is: the instance or agent that stands before it, the task that it works in,
-- the credential that asked for it and what was passed on to it.
ALTER TABLE instance ADD COLUMN parent TEXT;
ALTER TABLE instance ADD COLUMN task TEXT;
ALTER TABLE instance ADD COLUMN born_by TEXT;
ALTER TABLE instance ADD COLUMN permissions TEXT;
CREATE INDEX instance_parent ON instance (org, parent) WHERE state = 'active' AND parent IS NOT NULL;
CREATE INDEX instance_task ON instance (org, task, expires_at)
    WHERE state = 'active' AND task IS NOT NULL;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('instance', 'instance_parent', '1000000 100000 10'),
    ('instance', 'instance_task', '1000000 100000 10 2');
ANALYZE sqlite_schema;
