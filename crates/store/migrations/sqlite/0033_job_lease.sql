-- Which process does by the clock what one does for all, under which number, and how often it has
-- shown that it lives. The organization is none: what is leased is of the installation. Where one
-- process has the store alone, no row is ever written.
CREATE TABLE job_lease (
    org    TEXT    NOT NULL,
    job    TEXT    NOT NULL,
    holder TEXT,
    lease  INTEGER NOT NULL,
    beat   INTEGER NOT NULL,
    PRIMARY KEY (org, job)
) STRICT, WITHOUT ROWID;
