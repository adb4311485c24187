-- The credentials that are rules on the processes which nodes of an agent vouch for: found by it for each
-- process.
CREATE TABLE process_rule (
    org        TEXT COLLATE "C" NOT NULL,
    edge       TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, edge, credential),
    FOREIGN KEY (org, edge) REFERENCES agent (org, id),
    FOREIGN KEY (org, credential) REFERENCES credential (org, id)
);
