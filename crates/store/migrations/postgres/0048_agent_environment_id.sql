-- A page of a list by `environment` goes on by the id, which an index of this engine has only where it is told so.
CREATE INDEX agent_environment_id ON agent (org, environment, id);
