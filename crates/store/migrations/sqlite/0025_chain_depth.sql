-- How many parties a chain of the organization may have (RFC 8693, `act`).
ALTER TABLE organization ADD COLUMN chain_depth_max INTEGER NOT NULL DEFAULT 4;
