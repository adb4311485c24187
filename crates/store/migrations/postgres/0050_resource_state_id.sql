-- A page of a list by `state` goes on by the id, which an index of this engine has only where it is told so.
CREATE INDEX resource_state_id ON resource (org, state, id);
