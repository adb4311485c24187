-- Units of work that tokens are minted for. They count while they are neither ended nor over.
CREATE TABLE task (
    org        TEXT    NOT NULL REFERENCES organization (org),
    id         TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_agent ON task (org, agent, id);
CREATE INDEX task_state ON task (org, state, id, expires_at);
CREATE INDEX task_live ON task (org, expires_at) WHERE state = 'active';

INSERT INTO holding (org, noun, held, expired_to) SELECT org, 'tasks', 0, 0 FROM organization;
DROP TRIGGER organization_holds;
CREATE TRIGGER organization_holds AFTER INSERT ON organization BEGIN
    INSERT INTO holding (org, noun, held, expired_to) VALUES
        (new.org, 'agents', 0, 0), (new.org, 'persons', 0, 0), (new.org, 'resources', 0, 0),
        (new.org, 'instances', 0, 0), (new.org, 'credentials', 0, 0),
        (new.org, 'admin_keys', 0, 0), (new.org, 'tasks', 0, 0);
END;
CREATE TRIGGER task_held AFTER INSERT ON task BEGIN
    UPDATE holding SET held = held + (new.state = 'active' AND new.expires_at > expired_to)
        WHERE org = new.org AND noun = 'tasks';
END;
CREATE TRIGGER task_turned AFTER UPDATE OF state, expires_at ON task BEGIN
    UPDATE holding SET held = held
        + (new.state = 'active' AND new.expires_at > expired_to)
        - (old.state = 'active' AND old.expires_at > expired_to)
        WHERE org = new.org AND noun = 'tasks';
END;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('task', 'task', '1000000 100000 1'),
    ('task', 'task_agent', '1000000 100000 10 1'),
    ('task', 'task_state', '1000000 100000 10000 1 1'),
    ('task', 'task_live', '1000000 100000 2 1');
ANALYZE sqlite_schema;
