-- The signed note in which a key of the log is named by the one before it.
ALTER TABLE signing_key ADD COLUMN statement TEXT;
