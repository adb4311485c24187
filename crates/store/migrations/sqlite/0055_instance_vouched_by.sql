-- By whose word an instance is who it is: a federation, or an instance that is a node.
ALTER TABLE instance ADD COLUMN vouched_by TEXT;
