-- Other trust domains whose workloads an organization's instances may know, each with its bundle as it was
-- last had. The bundle stands last: whoever looks what is due reads past none.
CREATE TABLE foreign_domain (
    org           TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    bundle_url    TEXT,
    endpoint_id   TEXT,
    agents        TEXT    NOT NULL,
    due_at        INTEGER,
    fetched_at    INTEGER NOT NULL,
    failing_since INTEGER,
    failure       TEXT,
    created_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    bundle        TEXT    NOT NULL,
    PRIMARY KEY (org, name),
    FOREIGN KEY (org) REFERENCES organization (org)
) STRICT, WITHOUT ROWID;
