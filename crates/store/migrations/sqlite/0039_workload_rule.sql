-- The credentials that are rules of a platform: found by it for every token of its workloads.
CREATE TABLE workload_rule (
    org        TEXT NOT NULL,
    federation TEXT NOT NULL,
    credential TEXT NOT NULL,
    PRIMARY KEY (org, federation, credential),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
) STRICT, WITHOUT ROWID;
