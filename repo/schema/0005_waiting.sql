-- Targets metadata that wait for the signatures of people. They count as long as
-- the push that they replace is the visible one.
CREATE TABLE repo_waiting (
    namespace  TEXT   NOT NULL PRIMARY KEY,
    id         TEXT   NOT NULL, -- SHA-256 of the payload of uptane
    version    BIGINT NOT NULL,
    base       TEXT   NOT NULL, -- id of the push, empty for none
    uptane     BYTEA  NOT NULL, -- the document with the signatures so far
    tuf        BYTEA,           -- its twin
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL
);
