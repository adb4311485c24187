-- Whether tokens are issued: not after a backup was restored, until somebody has said what was ended
-- since it was made.
ALTER TABLE organization ADD COLUMN issuing TEXT NOT NULL DEFAULT 'open';

-- Single-use values that end before this may have been used up in what a restore lost.
ALTER TABLE installation ADD COLUMN spent_before INTEGER;
