-- The schema as of migration 32 of the embedded store, in PostgreSQL's words. The organization leads
-- every key: it is what a shard is cut by. Ids and JSON are text and compared as bytes, times are
-- integer microseconds. Rows of nouns are never deleted, so that no name is ever used twice.

CREATE TABLE installation (
    id           BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    public_url   TEXT COLLATE "C" NOT NULL,
    spent_before BIGINT,
    root         BIGINT NOT NULL DEFAULT 1
);

CREATE TABLE pepper (
    version BIGINT NOT NULL PRIMARY KEY,
    wrapped BYTEA NOT NULL
);

CREATE TABLE heartbeat (
    id    BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    beats BIGINT NOT NULL
);

CREATE TABLE organization (
    org             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name            TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name    TEXT COLLATE "C",
    issuer          TEXT COLLATE "C" NOT NULL,
    state           TEXT COLLATE "C" NOT NULL,
    rev             BIGINT NOT NULL,
    generation      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    rotation_policy TEXT COLLATE "C" NOT NULL DEFAULT 'warn',
    issuing         TEXT COLLATE "C" NOT NULL DEFAULT 'open',
    chain_depth_max BIGINT NOT NULL DEFAULT 4
);

CREATE TABLE person (
    org         TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    email       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C",
    state       TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    permissions TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    suspensions BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, id),
    UNIQUE (org, email),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE resource (
    org                 TEXT COLLATE "C" NOT NULL,
    id                  TEXT COLLATE "C" NOT NULL,
    name                TEXT COLLATE "C" NOT NULL,
    audience            TEXT COLLATE "C" NOT NULL,
    actions             TEXT COLLATE "C" NOT NULL,
    state               TEXT COLLATE "C" NOT NULL,
    revocations_age_max BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    version             BIGINT NOT NULL,
    environment         TEXT COLLATE "C" NOT NULL DEFAULT 'dev',
    agent               TEXT COLLATE "C",
    bound_only          BIGINT NOT NULL DEFAULT 0,
    status_list         BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, id),
    UNIQUE (org, name),
    UNIQUE (org, audience),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE agent (
    org                    TEXT COLLATE "C" NOT NULL,
    id                     TEXT COLLATE "C" NOT NULL,
    name                   TEXT COLLATE "C" NOT NULL,
    owner                  TEXT COLLATE "C",
    purpose                TEXT COLLATE "C",
    environment            TEXT COLLATE "C" NOT NULL,
    state                  TEXT COLLATE "C" NOT NULL,
    permissions            TEXT COLLATE "C" NOT NULL,
    default_scope          TEXT COLLATE "C",
    may_delegate           BIGINT NOT NULL,
    token_lifetime         BIGINT NOT NULL,
    review_due_at          BIGINT NOT NULL,
    created_at             BIGINT NOT NULL,
    last_reviewed_at       BIGINT,
    version                BIGINT NOT NULL,
    rotation_days          BIGINT NOT NULL DEFAULT 30,
    rotation_warned_for    BIGINT,
    across                 TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    rotation_asked_at      BIGINT,
    rotation_asked_because TEXT COLLATE "C",
    look_at                BIGINT,
    bound_only             BIGINT NOT NULL DEFAULT 0,
    impersonates           TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    drill                  BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, id),
    UNIQUE (org, name),
    FOREIGN KEY (org) REFERENCES organization (org),
    FOREIGN KEY (org, owner) REFERENCES person (org, id)
);

CREATE TABLE instance (
    org         TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    agent       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C",
    state       TEXT COLLATE "C" NOT NULL,
    credential  TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    version     BIGINT NOT NULL,
    parent      TEXT COLLATE "C",
    task        TEXT COLLATE "C",
    born_by     TEXT COLLATE "C",
    permissions TEXT COLLATE "C",
    PRIMARY KEY (org, id),
    FOREIGN KEY (org) REFERENCES organization (org),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
);

CREATE TABLE credential (
    org         TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    agent       TEXT COLLATE "C",
    instance    TEXT COLLATE "C",
    resource    TEXT COLLATE "C",
    permissions TEXT COLLATE "C",
    pepper      BIGINT,
    mac         BYTEA,
    kid         TEXT COLLATE "C",
    jwk         TEXT COLLATE "C",
    state       TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    role        TEXT COLLATE "C",
    purpose     TEXT COLLATE "C",
    created_by  TEXT COLLATE "C",
    successor   TEXT COLLATE "C",
    used_for    TEXT COLLATE "C" NOT NULL DEFAULT 'default',
    followed    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org) REFERENCES organization (org),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id),
    FOREIGN KEY (org, instance) REFERENCES instance (org, id),
    FOREIGN KEY (org, resource) REFERENCES resource (org, id)
);

CREATE TABLE admin_key (
    id  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    org TEXT COLLATE "C" NOT NULL,
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE key_holder (
    org        TEXT COLLATE "C" NOT NULL,
    thumbprint TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, thumbprint)
);

CREATE TABLE signing_key (
    org        TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    purpose    TEXT COLLATE "C" NOT NULL,
    algorithm  TEXT COLLATE "C" NOT NULL,
    public     BYTEA NOT NULL,
    wrapped    BYTEA NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    changed_at BIGINT,
    statement  TEXT COLLATE "C",
    PRIMARY KEY (org, id),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE revocation (
    org        TEXT COLLATE "C" NOT NULL,
    rev        BIGINT NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    target     TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    revoked_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    ends_at    BIGINT,
    PRIMARY KEY (org, rev),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE use_time (
    org    TEXT COLLATE "C" NOT NULL,
    id     TEXT COLLATE "C" NOT NULL,
    at     BIGINT NOT NULL,
    source TEXT COLLATE "C",
    PRIMARY KEY (org, id)
);

CREATE TABLE lane (
    org        TEXT COLLATE "C" NOT NULL,
    lane       BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    next       BIGINT NOT NULL,
    previous   BYTEA NOT NULL,
    last_at    BIGINT NOT NULL,
    fence      BIGINT NOT NULL,
    pruned     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, lane),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE event (
    org     TEXT COLLATE "C" NOT NULL,
    lane    BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    hash    BYTEA NOT NULL,
    digest  BYTEA,
    salt    BYTEA,
    payload TEXT COLLATE "C",
    PRIMARY KEY (org, lane, seq)
);

CREATE TABLE tile (
    org    TEXT COLLATE "C" NOT NULL,
    lane   BIGINT NOT NULL,
    level  BIGINT NOT NULL,
    place  BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (org, lane, level, place)
);

CREATE TABLE checkpoint (
    org  TEXT COLLATE "C" NOT NULL,
    lane BIGINT NOT NULL,
    size BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, lane, size)
);

CREATE TABLE operator_key (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    pepper     BIGINT NOT NULL,
    mac        BYTEA NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE answer (
    org    TEXT COLLATE "C" NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    key    BYTEA NOT NULL,
    asked  BYTEA NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    until  BIGINT NOT NULL,
    PRIMARY KEY (org, caller, key)
);

CREATE TABLE spent (
    org    TEXT COLLATE "C" NOT NULL,
    seq    BIGINT NOT NULL,
    client TEXT COLLATE "C" NOT NULL,
    hash   BYTEA NOT NULL,
    until  BIGINT NOT NULL,
    PRIMARY KEY (org, seq)
);

CREATE TABLE credential_use (
    org        TEXT COLLATE "C" NOT NULL,
    holder     TEXT COLLATE "C" NOT NULL,
    used_for   TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, holder, used_for)
);

CREATE TABLE followed (
    org           TEXT COLLATE "C" NOT NULL,
    agent         TEXT COLLATE "C" NOT NULL,
    url           TEXT COLLATE "C" NOT NULL,
    due_at        BIGINT NOT NULL,
    fetched_at    BIGINT,
    failing_since BIGINT,
    failure       TEXT COLLATE "C",
    PRIMARY KEY (org, agent),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
);

CREATE TABLE holding (
    org        TEXT COLLATE "C" NOT NULL,
    noun       TEXT COLLATE "C" NOT NULL,
    held       BIGINT NOT NULL,
    expired_to BIGINT NOT NULL,
    PRIMARY KEY (org, noun)
);

CREATE TABLE task (
    org        TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    purpose    TEXT COLLATE "C" NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org) REFERENCES organization (org),
    FOREIGN KEY (org, agent) REFERENCES agent (org, id)
);

CREATE TABLE federation (
    org         TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    issuer      TEXT COLLATE "C" NOT NULL,
    jwks_url    TEXT COLLATE "C",
    audiences   TEXT COLLATE "C" NOT NULL,
    rules       TEXT COLLATE "C" NOT NULL,
    provision   BIGINT NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    suspensions BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, id),
    UNIQUE (org, name),
    UNIQUE (org, issuer),
    FOREIGN KEY (org) REFERENCES organization (org)
);

CREATE TABLE federation_keys (
    org           TEXT COLLATE "C" NOT NULL,
    federation    TEXT COLLATE "C" NOT NULL,
    keys          TEXT COLLATE "C",
    due_at        BIGINT NOT NULL,
    fetched_at    BIGINT,
    failing_since BIGINT,
    failure       TEXT COLLATE "C",
    PRIMARY KEY (org, federation),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id)
);

CREATE TABLE person_identity (
    org        TEXT COLLATE "C" NOT NULL,
    federation TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    person     TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org, federation, subject),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id),
    FOREIGN KEY (org, person) REFERENCES person (org, id)
);

CREATE TABLE task_grant (
    org                    TEXT COLLATE "C" NOT NULL,
    task                   TEXT COLLATE "C" NOT NULL,
    id                     TEXT COLLATE "C" NOT NULL,
    person                 TEXT COLLATE "C" NOT NULL,
    federation             TEXT COLLATE "C" NOT NULL,
    issuer                 TEXT COLLATE "C" NOT NULL,
    subject                TEXT COLLATE "C" NOT NULL,
    rules                  TEXT COLLATE "C" NOT NULL,
    permissions            TEXT COLLATE "C" NOT NULL,
    instance               TEXT COLLATE "C",
    person_suspensions     BIGINT NOT NULL,
    federation_suspensions BIGINT NOT NULL,
    revoked                BIGINT NOT NULL,
    granted_at             BIGINT NOT NULL,
    expires_at             BIGINT NOT NULL,
    PRIMARY KEY (org, task),
    FOREIGN KEY (org, task) REFERENCES task (org, id),
    FOREIGN KEY (org, person) REFERENCES person (org, id),
    FOREIGN KEY (org, federation) REFERENCES federation (org, id)
);

CREATE TABLE change_head (
    id    BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    place BIGINT NOT NULL
);

CREATE TABLE change (
    place       BIGINT NOT NULL PRIMARY KEY,
    org         TEXT COLLATE "C",
    rev         BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    what        BIGINT NOT NULL,
    tags        BYTEA NOT NULL,
    credentials TEXT COLLATE "C" NOT NULL
);

CREATE TABLE status_place (
    org     TEXT COLLATE "C" NOT NULL,
    list    TEXT COLLATE "C" NOT NULL,
    idx     BIGINT NOT NULL,
    rev     BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    lineage BYTEA NOT NULL,
    PRIMARY KEY (org, list, idx)
);

CREATE INDEX agent_owner ON agent (org, owner);
CREATE INDEX instance_agent ON instance (org, agent, id);
CREATE INDEX credential_agent ON credential (org, agent, id) WHERE agent IS NOT NULL;
CREATE INDEX credential_instance ON credential (org, instance, id) WHERE instance IS NOT NULL;
CREATE INDEX credential_resource ON credential (org, resource, id) WHERE resource IS NOT NULL;
CREATE INDEX credential_agent_kid ON credential (org, agent, kid)
    WHERE agent IS NOT NULL AND kid IS NOT NULL;
CREATE INDEX credential_admin ON credential (org, id) WHERE permissions IS NOT NULL;
CREATE INDEX credential_own ON credential (org, agent, id)
    WHERE agent IS NOT NULL AND instance IS NULL;
CREATE INDEX credential_agent_key ON credential (org, agent, expires_at)
    WHERE agent IS NOT NULL AND kid IS NOT NULL;
CREATE INDEX followed_due ON followed (org, due_at);
CREATE INDEX agent_state ON agent (org, state);
CREATE INDEX agent_state_name ON agent (org, state, name);
CREATE INDEX agent_environment ON agent (org, environment);
CREATE INDEX agent_environment_name ON agent (org, environment, name);
CREATE INDEX person_state ON person (org, state);
CREATE INDEX person_state_email ON person (org, state, email);
CREATE INDEX resource_state ON resource (org, state);
CREATE INDEX resource_state_name ON resource (org, state, name);
CREATE INDEX instance_state ON instance (org, state, id, expires_at);
CREATE INDEX credential_state ON credential (org, state, id, expires_at);
CREATE INDEX event_kind ON event (org, lane, kind, seq) WHERE kind <> 'token.issued';
CREATE INDEX agent_look ON agent (org, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX instance_live ON instance (org, expires_at) WHERE state = 'active';
CREATE INDEX credential_live ON credential (org, expires_at)
    WHERE state = 'active' AND permissions IS NULL;
CREATE INDEX credential_admin_live ON credential (org, expires_at)
    WHERE state = 'active' AND permissions IS NOT NULL;
CREATE INDEX agent_review ON agent (org, review_due_at);
CREATE INDEX agent_state_review ON agent (org, state, review_due_at);
CREATE INDEX agent_owner_name ON agent (org, owner, name);
CREATE INDEX agent_owner_review ON agent (org, owner, review_due_at);
CREATE INDEX credential_expiry ON credential (org, expires_at);
CREATE INDEX credential_state_expiry ON credential (org, state, expires_at);
CREATE INDEX credential_agent_expiry ON credential (org, agent, expires_at)
    WHERE agent IS NOT NULL;
CREATE INDEX credential_resource_expiry ON credential (org, resource, expires_at)
    WHERE resource IS NOT NULL;
CREATE INDEX credential_admin_expiry ON credential (org, expires_at)
    WHERE permissions IS NOT NULL;
CREATE INDEX revocation_target ON revocation (org, target, rev);
CREATE INDEX revocation_ends ON revocation (org, ends_at) WHERE ends_at IS NOT NULL;
CREATE INDEX task_agent ON task (org, agent, id);
CREATE INDEX task_state ON task (org, state, id, expires_at);
CREATE INDEX task_live ON task (org, expires_at) WHERE state = 'active';
CREATE INDEX federation_state ON federation (org, state);
CREATE INDEX federation_state_name ON federation (org, state, name);
CREATE INDEX federation_keys_due ON federation_keys (org, due_at);
CREATE INDEX person_identity_person ON person_identity (org, person, federation, subject);
CREATE UNIQUE INDEX task_grant_id ON task_grant (org, id);
CREATE INDEX task_live_agent ON task (org, agent, expires_at) WHERE state = 'active';
CREATE INDEX instance_parent ON instance (org, parent) WHERE state = 'active' AND parent IS NOT NULL;
CREATE INDEX instance_task ON instance (org, task, expires_at)
    WHERE state = 'active' AND task IS NOT NULL;
CREATE INDEX instance_of_agent ON instance (org, agent, state)
    WHERE state = 'active' AND agent > '';
CREATE INDEX credential_of_agent ON credential (org, agent, state)
    WHERE state = 'active' AND agent > '';
CREATE INDEX status_place_until ON status_place (until);

INSERT INTO heartbeat (id, beats) VALUES (1, 0);
INSERT INTO change_head (id, place) VALUES (1, 0);

-- How much an organization has, kept by triggers as in the embedded store.
CREATE FUNCTION organization_holds() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO holding (org, noun, held, expired_to) VALUES
        (new.org, 'agents', 0, 0), (new.org, 'persons', 0, 0), (new.org, 'resources', 0, 0),
        (new.org, 'instances', 0, 0), (new.org, 'credentials', 0, 0),
        (new.org, 'admin_keys', 0, 0), (new.org, 'tasks', 0, 0), (new.org, 'federations', 0, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER organization_holds AFTER INSERT ON organization
    FOR EACH ROW EXECUTE FUNCTION organization_holds();

-- One more of what never expires. The argument is what is counted.
CREATE FUNCTION one_more_held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE holding SET held = held + 1 WHERE org = new.org AND noun = TG_ARGV[0];
    RETURN NULL;
END $$;
CREATE TRIGGER agent_held AFTER INSERT ON agent
    FOR EACH ROW EXECUTE FUNCTION one_more_held('agents');
CREATE TRIGGER person_held AFTER INSERT ON person
    FOR EACH ROW EXECUTE FUNCTION one_more_held('persons');
CREATE TRIGGER resource_held AFTER INSERT ON resource
    FOR EACH ROW EXECUTE FUNCTION one_more_held('resources');
CREATE TRIGGER federation_held AFTER INSERT ON federation
    FOR EACH ROW EXECUTE FUNCTION one_more_held('federations');

-- Whether a row counts: it is active, and its end was not taken off yet.
CREATE FUNCTION counts(state TEXT, expires_at BIGINT, expired_to BIGINT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE WHEN state = 'active' AND coalesce(expires_at > expired_to, TRUE)
          THEN 1 ELSE 0 END::bigint $$;
CREATE FUNCTION turned_held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE holding SET held = held + counts(new.state, new.expires_at, expired_to)
            WHERE org = new.org AND noun = TG_ARGV[0];
    ELSE
        UPDATE holding SET held = held + counts(new.state, new.expires_at, expired_to)
                - counts(old.state, old.expires_at, expired_to)
            WHERE org = new.org AND noun = TG_ARGV[0];
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER instance_held AFTER INSERT OR UPDATE OF state, expires_at ON instance
    FOR EACH ROW EXECUTE FUNCTION turned_held('instances');
CREATE TRIGGER task_held AFTER INSERT OR UPDATE OF state, expires_at ON task
    FOR EACH ROW EXECUTE FUNCTION turned_held('tasks');
CREATE TRIGGER credential_held AFTER INSERT OR UPDATE OF state, expires_at ON credential
    FOR EACH ROW WHEN (new.permissions IS NULL) EXECUTE FUNCTION turned_held('credentials');
CREATE TRIGGER admin_key_held AFTER INSERT OR UPDATE OF state, expires_at ON credential
    FOR EACH ROW WHEN (new.permissions IS NOT NULL) EXECUTE FUNCTION turned_held('admin_keys');

-- An agent that was made for a drill counts no more once it is decommissioned.
CREATE FUNCTION one_drilled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE holding SET held = held - 1 WHERE org = new.org AND noun = 'agents';
    RETURN NULL;
END $$;
CREATE TRIGGER agent_drilled AFTER UPDATE OF state ON agent
    FOR EACH ROW WHEN (new.drill = 1 AND new.state = 'decommissioned'
        AND old.state <> 'decommissioned') EXECUTE FUNCTION one_drilled();
