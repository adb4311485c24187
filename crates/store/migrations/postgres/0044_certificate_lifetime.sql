-- How long certificates of an agent's instances hold, seconds.
ALTER TABLE agent ADD COLUMN certificate_lifetime BIGINT NOT NULL DEFAULT 3600;
