-- A page of a list by `state` goes on by the id, which an index of this engine has only where it is told so.
CREATE INDEX person_state_id ON person (org, state, id);
