-- Environments become a boundary. What was allowed before stays allowed: a resource comes to lie in
-- `dev`, and every permission of an agent elsewhere is granted across the boundary.
ALTER TABLE resource ADD COLUMN environment TEXT NOT NULL DEFAULT 'dev';
ALTER TABLE agent ADD COLUMN across TEXT NOT NULL DEFAULT '[]';
UPDATE agent SET environment = CASE environment
    WHEN 'production' THEN 'prod' WHEN 'prod' THEN 'prod'
    WHEN 'stage' THEN 'staging' WHEN 'staging' THEN 'staging'
    ELSE 'dev' END;
UPDATE agent SET across = (
    SELECT json_group_array(json_extract(held.value, '$.resource'))
    FROM json_each(agent.permissions) AS held)
WHERE environment <> 'dev';
