-- What a kill of an agent ends is counted in these alone, and no row is looked at.
CREATE INDEX instance_of_agent ON instance (org, agent, state) WHERE state = 'active';
CREATE INDEX credential_of_agent ON credential (org, agent, state)
    WHERE state = 'active' AND agent IS NOT NULL;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('instance', 'instance_of_agent', '1000000 100000 9 9'),
    ('credential', 'credential_of_agent', '1000000 100000 9 9');
ANALYZE sqlite_schema;
