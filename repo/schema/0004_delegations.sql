-- Metadata of roles that targets delegate to. What clients see is a push with a
-- listing beside it: which version of each role its snapshot lists. listing is a
-- digest of that, '' where no role is listed. What a snapshot has listed once
-- stays listed: clients refuse one from which a role is missing.
ALTER TABLE repo_repository ADD COLUMN listing TEXT NOT NULL DEFAULT '';
ALTER TABLE repo_repository ADD COLUMN tuf_listing TEXT NOT NULL DEFAULT '';
ALTER TABLE repo_repository ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0; -- nothing that is signed here ends earlier; 0 none
ALTER TABLE repo_document ADD COLUMN listing TEXT NOT NULL DEFAULT '';

-- A role that was ever delegated to. Only one parent delegates to a name.
CREATE TABLE repo_delegation (
    namespace   TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    parent      TEXT    NOT NULL,            -- targets or a role; '' nobody any more
    place       BIGINT  NOT NULL,            -- order of priority in the parent
    trust       TEXT    NOT NULL,            -- the parent's delegations block, cut down to this role
    version     BIGINT  NOT NULL DEFAULT 0,  -- of the visible metadata, 0 none
    valid       BOOLEAN NOT NULL,            -- these are signed as trust demands
    expires     BIGINT  NOT NULL DEFAULT 0,
    tuf_version BIGINT  NOT NULL DEFAULT 0,  -- what TUF clients see, 0 none
    PRIMARY KEY (namespace, role)
);

-- Metadata of a role as they were signed; a version has one content.
CREATE TABLE repo_delegated (
    namespace  TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    checksum   TEXT   NOT NULL,              -- SHA-256 of document
    document   BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    PRIMARY KEY (namespace, role, version)
);

-- What the visible metadata of a role name.
CREATE TABLE repo_delegated_target (
    namespace  TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    sha256     TEXT   NOT NULL,
    length     BIGINT NOT NULL,
    name       TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    format     TEXT   NOT NULL,
    uri        TEXT   NOT NULL,
    entry      TEXT   NOT NULL,
    image      TEXT   NOT NULL DEFAULT '',
    added_at   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, role, filename)
);

CREATE INDEX repo_delegated_target_filename ON repo_delegated_target (namespace, filename);
CREATE INDEX repo_delegated_target_image ON repo_delegated_target (namespace, image) WHERE image <> '';
CREATE INDEX repo_target_image ON repo_target (namespace, image) WHERE image <> '';

-- Where the metadata of a role are fetched from, and what people call the role.
CREATE TABLE repo_remote (
    namespace     TEXT   NOT NULL,
    role          TEXT   NOT NULL,
    uri           TEXT   NOT NULL DEFAULT '',  -- '' they are pushed
    headers       BYTEA,                       -- JSON, sealed: they may be secrets
    friendly_name TEXT   NOT NULL DEFAULT '',
    fetched_at    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, role)
);

-- What people say about a target.
CREATE TABLE repo_comment (
    namespace  TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    comment    TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT   NOT NULL,
    PRIMARY KEY (namespace, filename)
);

-- Where the bill of materials of a target is.
CREATE TABLE repo_sbom (
    namespace  TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    uri        TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT   NOT NULL,
    PRIMARY KEY (namespace, filename)
);
