-- When a change of an agent asked for its credential to be rotated, and why.
ALTER TABLE agent ADD COLUMN rotation_asked_at INTEGER;
ALTER TABLE agent ADD COLUMN rotation_asked_because TEXT;

-- What follows where nobody rotates: a warning, or that nothing is issued.
ALTER TABLE organization ADD COLUMN rotation_policy TEXT NOT NULL DEFAULT 'warn';
