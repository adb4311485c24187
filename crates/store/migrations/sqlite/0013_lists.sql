-- A list with a filter is answered from an index in the order of the page, without looking at what
-- is not wanted. An id ends each of these, since it is the key of its table.
CREATE INDEX agent_state ON agent (org, state);
CREATE INDEX agent_state_name ON agent (org, state, name);
CREATE INDEX agent_environment ON agent (org, environment);
CREATE INDEX agent_environment_name ON agent (org, environment, name);
CREATE INDEX person_state ON person (org, state);
CREATE INDEX person_state_email ON person (org, state, email);
CREATE INDEX resource_state ON resource (org, state);
CREATE INDEX resource_state_name ON resource (org, state, name);

-- Whether something has expired is a matter of the time, which is looked at in the index.
CREATE INDEX instance_state ON instance (org, state, id, expires_at);
CREATE INDEX credential_state ON credential (org, state, id, expires_at);

-- Events by type, apart from the one that nearly all are.
CREATE INDEX event_kind ON event (org, lane, kind, seq) WHERE kind <> 'token.issued';

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('agent', 'sqlite_autoindex_agent_2', '1000000 100000 1'),
    ('agent', 'agent_state', '1000000 100000 10000 1'),
    ('agent', 'agent_state_name', '1000000 100000 10000 1 1'),
    ('agent', 'agent_environment', '1000000 100000 10000 1'),
    ('agent', 'agent_environment_name', '1000000 100000 10000 1 1'),
    ('person', 'person', '1000000 100000 1'),
    ('person', 'sqlite_autoindex_person_2', '1000000 100000 1'),
    ('person', 'person_state', '1000000 100000 10000 1'),
    ('person', 'person_state_email', '1000000 100000 10000 1 1'),
    ('resource', 'resource', '1000000 100000 1'),
    ('resource', 'sqlite_autoindex_resource_2', '1000000 100000 1'),
    ('resource', 'sqlite_autoindex_resource_3', '1000000 100000 1'),
    ('resource', 'resource_state', '1000000 100000 10000 1'),
    ('resource', 'resource_state_name', '1000000 100000 10000 1 1'),
    ('instance', 'instance_state', '1000000 100000 10000 1 1'),
    ('credential', 'credential_state', '1000000 100000 10000 1 1');
ANALYZE sqlite_schema;
