-- An index of this engine ends with the id by itself: nothing is added here.
CREATE INDEX IF NOT EXISTS resource_state ON resource (org, state);
