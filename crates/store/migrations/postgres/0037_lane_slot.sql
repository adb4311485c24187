-- The slot whose node writes to a lane, and nobody else while it has the lease of that; nothing where it is
-- the lane of its generation that all share.
ALTER TABLE lane ADD COLUMN slot BIGINT;
