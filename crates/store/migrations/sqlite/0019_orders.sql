-- A list in another order than that of its ids is answered from an index, too; an id ends each of
-- these, since it is the key of its table. Nothing that issuing writes is in them: when something
-- was last used is in no index, since it changes with every token.
CREATE INDEX agent_review ON agent (org, review_due_at);
CREATE INDEX agent_state_review ON agent (org, state, review_due_at);
CREATE INDEX agent_owner_name ON agent (org, owner, name);
CREATE INDEX agent_owner_review ON agent (org, owner, review_due_at);

CREATE INDEX credential_expiry ON credential (org, expires_at);
CREATE INDEX credential_state_expiry ON credential (org, state, expires_at);
CREATE INDEX credential_agent_expiry ON credential (org, agent, expires_at)
    WHERE agent IS NOT NULL;
CREATE INDEX credential_resource_expiry ON credential (org, resource, expires_at)
    WHERE resource IS NOT NULL;
CREATE INDEX credential_admin_expiry ON credential (org, expires_at)
    WHERE permissions IS NOT NULL;

CREATE INDEX revocation_target ON revocation (org, target, rev);

-- One row more for each than for the index in the order of ids, which stays the choice wherever no
-- order is asked for.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('agent', 'agent_review', '1000000 100001 2 1'),
    ('agent', 'agent_state_review', '1000000 100000 10001 2 1'),
    ('agent', 'agent_owner_name', '1000000 100000 11 1 1'),
    ('agent', 'agent_owner_review', '1000000 100000 11 2 1'),
    ('credential', 'credential_expiry', '1000000 100001 2 1'),
    ('credential', 'credential_state_expiry', '1000000 100000 10001 2 1'),
    ('credential', 'credential_agent_expiry', '1000000 100000 11 2 1'),
    ('credential', 'credential_resource_expiry', '1000000 100000 3 2 1'),
    ('credential', 'credential_admin_expiry', '100 11 2 1'),
    ('revocation', 'revocation', '1000000 100000 1'),
    ('revocation', 'revocation_target', '1000000 100000 2 1');
ANALYZE sqlite_schema;
