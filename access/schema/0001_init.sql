-- A namespace: one customer's devices, repositories and objects.
CREATE TABLE access_namespace (
    namespace  TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (namespace)
);

-- An API token. Its secret is 256 random bits, so a plain hash is enough.
CREATE TABLE access_token (
    namespace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    scopes     TEXT   NOT NULL,            -- separated by single spaces
    sha256     TEXT   NOT NULL,            -- of the secret, in hex
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL DEFAULT 0,  -- 0 never
    revoked_at BIGINT NOT NULL DEFAULT 0,  -- 0 not
    last_used  BIGINT NOT NULL DEFAULT 0,  -- 0 never; to ten minutes
    PRIMARY KEY (namespace, id)
);

-- Tokens name their namespace, not the other way round: one lookup by id.
CREATE UNIQUE INDEX access_token_id ON access_token (id);

-- An OAuth2 access token that an API token was exchanged for.
CREATE TABLE access_exchange (
    namespace  TEXT   NOT NULL,
    sha256     TEXT   NOT NULL,            -- of the whole text, in hex
    token      TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (sha256)
);

CREATE INDEX access_exchange_expires ON access_exchange (namespace, expires_at);
