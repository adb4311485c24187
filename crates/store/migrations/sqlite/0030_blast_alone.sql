-- What a kill ends is counted in these alone, and nothing else is: a statement that does not say
-- `agent > ''` cannot be led here, where an agent with many instances has a row for each.
DROP INDEX instance_of_agent;
DROP INDEX credential_of_agent;
CREATE INDEX instance_of_agent ON instance (org, agent, state)
    WHERE state = 'active' AND agent > '';
CREATE INDEX credential_of_agent ON credential (org, agent, state)
    WHERE state = 'active' AND agent > '';
