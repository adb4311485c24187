-- Which instance of an agent a process of a node is, by what the node calls it, and by which rule it was
-- brought into being.
CREATE TABLE process (
    org        TEXT COLLATE "C" NOT NULL,
    node       TEXT COLLATE "C" NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    instance   TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    born_at    BIGINT NOT NULL,
    PRIMARY KEY (org, node, agent, name),
    FOREIGN KEY (org, node) REFERENCES instance (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
);
