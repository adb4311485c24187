-- What a holder's secret is for. For each use one secret at most is live and has no successor: the
-- row says which was the last to be made for it. Of older secrets, which bear no use, the newest of a
-- holder has `default`, the others `default-2`, `default-3` and so on.
ALTER TABLE credential ADD COLUMN used_for TEXT NOT NULL DEFAULT 'default';
CREATE TABLE credential_use (
    org        TEXT NOT NULL,
    holder     TEXT NOT NULL,
    used_for   TEXT NOT NULL,
    credential TEXT NOT NULL,
    PRIMARY KEY (org, holder, used_for)
) STRICT, WITHOUT ROWID;
INSERT INTO credential_use (org, holder, used_for, credential)
    SELECT org, coalesce(instance, agent, resource),
        'default' || CASE WHEN place = 1 THEN '' ELSE '-' || place END, id
    FROM (SELECT org, instance, agent, resource, id, row_number() OVER (
            PARTITION BY org, coalesce(instance, agent, resource) ORDER BY id DESC) AS place
        FROM credential
        WHERE mac IS NOT NULL AND permissions IS NULL AND state = 'active' AND successor IS NULL);
UPDATE credential SET used_for = (
    SELECT held.used_for FROM credential_use held
    WHERE held.org = credential.org AND held.credential = credential.id
        AND held.holder = coalesce(credential.instance, credential.agent, credential.resource))
WHERE mac IS NOT NULL AND permissions IS NULL AND state = 'active' AND successor IS NULL;
