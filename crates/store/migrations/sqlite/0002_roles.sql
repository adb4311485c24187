-- What an administrator's key is for. The keys that there are were made with the organization: its
-- owner's, who from now on also manages keys.
ALTER TABLE credential ADD COLUMN role TEXT;
ALTER TABLE credential ADD COLUMN purpose TEXT;
ALTER TABLE credential ADD COLUMN created_by TEXT;
UPDATE credential SET role = 'owner', purpose = 'made where the server runs'
    WHERE permissions IS NOT NULL;
UPDATE credential SET permissions = permissions || ' administrators'
    WHERE permissions LIKE 'read registry revoke audit%';
CREATE INDEX credential_admin ON credential (org, id) WHERE permissions IS NOT NULL;

-- The installation's operator belongs to no organization.
CREATE TABLE operator_key (
    id         TEXT    NOT NULL PRIMARY KEY,
    pepper     INTEGER NOT NULL,
    mac        BLOB    NOT NULL,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('credential', 'credential_admin', '100 10 1');
ANALYZE sqlite_schema;
