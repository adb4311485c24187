-- Which process does by the clock what one does for all, under which number, and how often it has
-- shown that it lives. The organization is none: what is leased is of the installation. Where one
-- process has the store alone, no row is ever written.
CREATE TABLE job_lease (
    org    TEXT COLLATE "C" NOT NULL,
    job    TEXT COLLATE "C" NOT NULL,
    holder TEXT COLLATE "C",
    lease  BIGINT NOT NULL,
    beat   BIGINT NOT NULL,
    PRIMARY KEY (org, job)
);
