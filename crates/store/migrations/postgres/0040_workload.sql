-- Which instance of an agent a workload is, by what its platform calls it, and by which rule it was brought
-- into being.
CREATE TABLE workload (
    org        TEXT COLLATE "C" NOT NULL,
    federation TEXT COLLATE "C" NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    instance   TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    born_at    BIGINT NOT NULL,
    PRIMARY KEY (org, federation, agent, name),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
);
