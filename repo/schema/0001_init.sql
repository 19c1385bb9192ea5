-- The Image repository of a namespace. The row is the lock of the repository:
-- what adds a version or changes what is visible updates it first.
CREATE TABLE repo_repository (
    namespace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,             -- the repository's name on the wire
    push       TEXT   NOT NULL DEFAULT '',  -- the push that is visible, '' none yet
    generation BIGINT NOT NULL DEFAULT 0,   -- raised by each change of what is served
    created_at BIGINT NOT NULL,
    PRIMARY KEY (namespace)
);

CREATE UNIQUE INDEX repo_repository_id ON repo_repository (id);

-- Targets metadata as it was signed and pushed. A push is staged on top of the
-- visible one, its base, until its snapshot and timestamp are sealed.
CREATE TABLE repo_push (
    namespace    TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    base         TEXT   NOT NULL,             -- push that was visible before, '' none
    version      BIGINT NOT NULL,
    checksum     TEXT   NOT NULL,             -- SHA-256 of document
    document     BYTEA  NOT NULL,
    expires      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT   NOT NULL,
    published_at BIGINT NOT NULL DEFAULT 0,   -- 0 while staged
    PRIMARY KEY (namespace, id)
);

CREATE UNIQUE INDEX repo_push_same ON repo_push (namespace, base, checksum);
CREATE UNIQUE INDEX repo_push_version ON repo_push (namespace, version) WHERE published_at > 0;

-- Snapshots and timestamps, written ahead: the payload first, its signature
-- later, by whichever replica comes first. Rows are never deleted and their
-- payload never changes: a version has one content.
CREATE TABLE repo_document (
    namespace    TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    version      BIGINT  NOT NULL,
    push         TEXT    NOT NULL,             -- the push whose set it belongs to
    root_version BIGINT  NOT NULL,             -- the root it is to be signed under
    snapshot     BIGINT  NOT NULL DEFAULT 0,   -- of a timestamp: the version it names
    payload      BYTEA   NOT NULL,
    document     BYTEA,                        -- with signatures, once sealed
    void         BOOLEAN NOT NULL DEFAULT FALSE,
    expires      BIGINT  NOT NULL,
    capped       BOOLEAN NOT NULL,             -- expires with its root, not by its own life
    created_at   BIGINT  NOT NULL,
    PRIMARY KEY (namespace, role, version)
);

CREATE INDEX repo_document_push ON repo_document (namespace, push, role, version);

-- What the visible targets metadata names.
CREATE TABLE repo_target (
    namespace  TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    sha256     TEXT   NOT NULL,
    length     BIGINT NOT NULL,
    name       TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    format     TEXT   NOT NULL,             -- OSTREE, BINARY or ''
    uri        TEXT   NOT NULL,             -- '' where the bytes are ours or nowhere
    entry      TEXT   NOT NULL,             -- as in the metadata, canonical JSON
    image      TEXT   NOT NULL DEFAULT '',  -- id of the uploaded image, '' none
    added_at   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, filename)
);

CREATE INDEX repo_target_updated ON repo_target (namespace, updated_at, filename);
CREATE INDEX repo_target_sha256 ON repo_target (namespace, sha256);

-- What a filename stood for when it was first published: it never means
-- anything else, also after it was taken out.
CREATE TABLE repo_content (
    namespace TEXT   NOT NULL,
    filename  TEXT   NOT NULL,
    sha256    TEXT   NOT NULL,
    length    BIGINT NOT NULL,
    version   BIGINT NOT NULL,              -- of the targets metadata that brought it
    PRIMARY KEY (namespace, filename)
);

-- An upload in parts that is under way.
CREATE TABLE repo_upload (
    namespace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    part_size  BIGINT NOT NULL,
    secret     BYTEA  NOT NULL,             -- makes the tokens of its part URLs
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    PRIMARY KEY (namespace, id)
);

CREATE INDEX repo_upload_created ON repo_upload (namespace, created_at);

CREATE TABLE repo_part (
    namespace TEXT   NOT NULL,
    upload    TEXT   NOT NULL,
    part      BIGINT NOT NULL,
    md5       TEXT   NOT NULL,
    size      BIGINT NOT NULL,
    blob      TEXT   NOT NULL,              -- key in the bucket
    PRIMARY KEY (namespace, upload, part)
);

-- Bytes that were uploaded under a filename. They are a target's from the push
-- that names them; those that no target names are deleted after a while.
CREATE TABLE repo_image (
    namespace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    filename   TEXT   NOT NULL,
    sha256     TEXT   NOT NULL,
    length     BIGINT NOT NULL,
    blob       TEXT   NOT NULL,             -- key in the bucket
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    idle_since BIGINT NOT NULL,             -- 0 while a target names it
    PRIMARY KEY (namespace, id)
);

CREATE INDEX repo_image_content ON repo_image (namespace, filename, sha256);
CREATE INDEX repo_image_idle ON repo_image (namespace, idle_since) WHERE idle_since > 0;

-- TUF documents that say the same as a targets or root document, kept until
-- that document arrives, then for good. digest is over what both flavours say.
CREATE TABLE repo_twin (
    namespace    TEXT   NOT NULL,
    role         TEXT   NOT NULL,
    digest       TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    document     BYTEA  NOT NULL,
    created_at   BIGINT NOT NULL,
    published_at BIGINT NOT NULL DEFAULT 0, -- 0 while staged
    PRIMARY KEY (namespace, role, digest)
);

CREATE INDEX repo_twin_staged ON repo_twin (namespace, created_at) WHERE published_at = 0;
