-- An index of this engine ends with the id by itself: nothing is added here.
CREATE INDEX IF NOT EXISTS federation_state ON federation (org, state);
