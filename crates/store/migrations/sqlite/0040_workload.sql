-- Which instance of an agent a workload is, by what its platform calls it, and by which rule it was brought
-- into being.
CREATE TABLE workload (
    org        TEXT NOT NULL,
    federation TEXT NOT NULL,
    agent      TEXT NOT NULL,
    name       TEXT NOT NULL,
    instance   TEXT NOT NULL,
    credential TEXT NOT NULL,
    born_at    INTEGER NOT NULL,
    PRIMARY KEY (org, federation, agent, name),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
) STRICT, WITHOUT ROWID;
