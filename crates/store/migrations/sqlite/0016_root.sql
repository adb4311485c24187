-- Under which of its root keys the store is, counted from the first: a signing key that was wrapped
-- under another one, while that was replaced, is told from the others when it is written.
ALTER TABLE installation ADD COLUMN root INTEGER NOT NULL DEFAULT 1;
