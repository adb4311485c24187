-- How far the payloads of a lane are deleted, so that deleting goes on from there.
ALTER TABLE lane ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
