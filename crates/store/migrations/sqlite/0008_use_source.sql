-- From which address something was last used.
ALTER TABLE use_time ADD COLUMN source TEXT;
