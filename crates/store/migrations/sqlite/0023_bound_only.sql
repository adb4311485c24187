-- Agents and resources of whose tokens only those are issued that are bound to a key (RFC 9449).
ALTER TABLE agent ADD COLUMN bound_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resource ADD COLUMN bound_only INTEGER NOT NULL DEFAULT 0;
