-- The same repository for clients of TUF 1.0. It is off until somebody switches
-- it on; its documents are kept all the same, so that it can be. tuf_push is the
-- newest visible push that has a TUF document, '' none: TUF clients see that one.
ALTER TABLE repo_repository ADD COLUMN tuf BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE repo_repository ADD COLUMN tuf_anonymous BOOLEAN NOT NULL DEFAULT FALSE; -- without credentials, too
ALTER TABLE repo_repository ADD COLUMN tuf_push TEXT NOT NULL DEFAULT '';

CREATE UNIQUE INDEX repo_twin_version ON repo_twin (namespace, role, version) WHERE published_at > 0;

-- The images that the TUF document of tuf_push lists and whose bytes are here.
CREATE TABLE repo_tuf_target (
    namespace TEXT NOT NULL,
    filename  TEXT NOT NULL,
    sha256    TEXT NOT NULL,
    image     TEXT NOT NULL,                 -- id of the uploaded image
    PRIMARY KEY (namespace, filename)
);

CREATE INDEX repo_tuf_target_image ON repo_tuf_target (namespace, image);

UPDATE repo_repository SET tuf_push = push WHERE EXISTS (
    SELECT 1 FROM repo_push p JOIN repo_twin t ON t.namespace = p.namespace AND t.version = p.version
    WHERE p.namespace = repo_repository.namespace AND p.id = repo_repository.push AND t.role = 'targets' AND t.published_at > 0);

INSERT INTO repo_tuf_target (namespace, filename, sha256, image)
    SELECT t.namespace, t.filename, t.sha256, t.image FROM repo_target t
    JOIN repo_repository r ON r.namespace = t.namespace WHERE t.image <> '' AND r.tuf_push <> '';

-- Each flavour has snapshots and timestamps of its own, with versions of their own.
DROP INDEX repo_document_push;
ALTER TABLE repo_document RENAME TO repo_document_before;

CREATE TABLE repo_document (
    namespace    TEXT    NOT NULL,
    flavour      TEXT    NOT NULL CHECK (flavour IN ('uptane', 'tuf')),
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
    PRIMARY KEY (namespace, flavour, role, version)
);

INSERT INTO repo_document (namespace, flavour, role, version, push, root_version, snapshot, payload, document, void, expires, capped, created_at)
    SELECT namespace, 'uptane', role, version, push, root_version, snapshot, payload, document, void, expires, capped, created_at
    FROM repo_document_before;

DROP TABLE repo_document_before;

CREATE INDEX repo_document_push ON repo_document (namespace, flavour, push, role, version);
