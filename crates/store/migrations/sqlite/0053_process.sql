-- Which instance of an agent a process of a node is, by what the node calls it, and by which rule it was
-- brought into being.
CREATE TABLE process (
    org        TEXT NOT NULL,
    node       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    name       TEXT NOT NULL,
    instance   TEXT NOT NULL,
    credential TEXT NOT NULL,
    born_at    INTEGER NOT NULL,
    PRIMARY KEY (org, node, agent, name),
    FOREIGN KEY (org, node) REFERENCES instance (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
) STRICT, WITHOUT ROWID;
