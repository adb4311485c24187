-- The agent that serves a resource: it may exchange the tokens that are sent to it.
ALTER TABLE resource ADD COLUMN agent TEXT;
