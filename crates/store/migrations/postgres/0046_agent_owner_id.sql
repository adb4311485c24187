-- A page of a list by `owner` goes on by the id, which an index of this engine has only where it is told so.
CREATE INDEX agent_owner_id ON agent (org, owner, id);
