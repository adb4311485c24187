-- Other trust domains whose workloads an organization's instances may know, each with its bundle as it was
-- last had. The bundle stands last: whoever looks what is due reads past none.
CREATE TABLE foreign_domain (
    org           TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    bundle_url    TEXT COLLATE "C",
    endpoint_id   TEXT COLLATE "C",
    agents        TEXT COLLATE "C" NOT NULL,
    due_at        BIGINT,
    fetched_at    BIGINT NOT NULL,
    failing_since BIGINT,
    failure       TEXT COLLATE "C",
    created_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    bundle        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, name),
    FOREIGN KEY (org) REFERENCES organization (org)
);
