-- The hosts that certificates of an agent's instances may name, with blanks between.
ALTER TABLE agent ADD COLUMN dns_names TEXT NOT NULL DEFAULT '';
