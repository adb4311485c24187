-- An index of this engine ends with the id by itself: nothing is added here.
CREATE INDEX IF NOT EXISTS agent_state ON agent (org, state);
