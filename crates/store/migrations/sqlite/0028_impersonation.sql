-- For whom an agent may act without being named in the token (RFC 8693, impersonation).
ALTER TABLE agent ADD COLUMN impersonates TEXT NOT NULL DEFAULT '[]';
-- An agent that was made for a drill counts to no quota once it is decommissioned.
ALTER TABLE agent ADD COLUMN drill INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER agent_drilled AFTER UPDATE OF state ON agent
    WHEN new.drill = 1 AND new.state = 'decommissioned' AND old.state <> 'decommissioned' BEGIN
    UPDATE holding SET held = held - 1 WHERE org = new.org AND noun = 'agents';
END;
