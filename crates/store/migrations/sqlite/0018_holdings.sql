-- How much an organization has, so that what it may have is checked without counting. Triggers keep
-- it, so that no way of writing a row is without it. Agents, persons and resources count for as long
-- as their rows are there, which is for ever; the others while they are neither revoked nor expired.
-- Nobody writes when something expires: what did up to `expired_to` is taken off by a job.
CREATE TABLE holding (
    org        TEXT    NOT NULL,
    noun       TEXT    NOT NULL,
    held       INTEGER NOT NULL,
    expired_to INTEGER NOT NULL,
    PRIMARY KEY (org, noun)
) STRICT, WITHOUT ROWID;

CREATE INDEX instance_live ON instance (org, expires_at) WHERE state = 'active';
CREATE INDEX credential_live ON credential (org, expires_at)
    WHERE state = 'active' AND permissions IS NULL;
CREATE INDEX credential_admin_live ON credential (org, expires_at)
    WHERE state = 'active' AND permissions IS NOT NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('instance', 'instance_live', '1000000 100000 2 1'),
    ('credential', 'credential_live', '1000000 100000 2 1'),
    ('credential', 'credential_admin_live', '100 10 2 1');
ANALYZE sqlite_schema;

INSERT INTO holding (org, noun, held, expired_to)
    SELECT org, 'agents', (SELECT count(*) FROM agent a WHERE a.org = o.org), 0
        FROM organization o
    UNION ALL SELECT org, 'persons', (SELECT count(*) FROM person p WHERE p.org = o.org), 0
        FROM organization o
    UNION ALL SELECT org, 'resources', (SELECT count(*) FROM resource r WHERE r.org = o.org), 0
        FROM organization o
    UNION ALL SELECT org, 'instances', (SELECT count(*) FROM instance i
        WHERE i.org = o.org AND i.state = 'active'), 0 FROM organization o
    UNION ALL SELECT org, 'credentials', (SELECT count(*) FROM credential c
        WHERE c.org = o.org AND c.state = 'active' AND c.permissions IS NULL), 0
        FROM organization o
    UNION ALL SELECT org, 'admin_keys', (SELECT count(*) FROM credential c
        WHERE c.org = o.org AND c.state = 'active' AND c.permissions IS NOT NULL), 0
        FROM organization o;

CREATE TRIGGER organization_holds AFTER INSERT ON organization BEGIN
    INSERT INTO holding (org, noun, held, expired_to) VALUES
        (new.org, 'agents', 0, 0), (new.org, 'persons', 0, 0), (new.org, 'resources', 0, 0),
        (new.org, 'instances', 0, 0), (new.org, 'credentials', 0, 0),
        (new.org, 'admin_keys', 0, 0);
END;
CREATE TRIGGER agent_held AFTER INSERT ON agent BEGIN
    UPDATE holding SET held = held + 1 WHERE org = new.org AND noun = 'agents';
END;
CREATE TRIGGER person_held AFTER INSERT ON person BEGIN
    UPDATE holding SET held = held + 1 WHERE org = new.org AND noun = 'persons';
END;
CREATE TRIGGER resource_held AFTER INSERT ON resource BEGIN
    UPDATE holding SET held = held + 1 WHERE org = new.org AND noun = 'resources';
END;
CREATE TRIGGER instance_held AFTER INSERT ON instance BEGIN
    UPDATE holding SET held = held
        + (new.state = 'active' AND coalesce(new.expires_at > expired_to, 1))
        WHERE org = new.org AND noun = 'instances';
END;
CREATE TRIGGER instance_turned AFTER UPDATE OF state, expires_at ON instance BEGIN
    UPDATE holding SET held = held
        + (new.state = 'active' AND coalesce(new.expires_at > expired_to, 1))
        - (old.state = 'active' AND coalesce(old.expires_at > expired_to, 1))
        WHERE org = new.org AND noun = 'instances';
END;
CREATE TRIGGER credential_held AFTER INSERT ON credential BEGIN
    UPDATE holding SET held = held + (new.state = 'active' AND new.expires_at > expired_to)
        WHERE org = new.org
        AND noun = CASE WHEN new.permissions IS NULL THEN 'credentials' ELSE 'admin_keys' END;
END;
CREATE TRIGGER credential_turned AFTER UPDATE OF state, expires_at ON credential BEGIN
    UPDATE holding SET held = held
        + (new.state = 'active' AND new.expires_at > expired_to)
        - (old.state = 'active' AND old.expires_at > expired_to)
        WHERE org = new.org
        AND noun = CASE WHEN new.permissions IS NULL THEN 'credentials' ELSE 'admin_keys' END;
END;
