-- The rule on the tokens of a platform, as JSON, where a credential is one.
ALTER TABLE credential ADD COLUMN workload TEXT COLLATE "C";
