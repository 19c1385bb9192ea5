-- A device as the Director knows it. The row is the lock of the device: what
-- changes the device's state updates it first.
CREATE TABLE director_device (
    namespace      TEXT   NOT NULL,
    device         TEXT   NOT NULL,
    oemid          TEXT   NOT NULL,
    primary_serial TEXT   NOT NULL,            -- '' while no ECU is registered
    registration   BIGINT NOT NULL,            -- raised by each accepted registration and reset
    epoch          BIGINT NOT NULL,            -- raised by whatever changes what targets must say
    document       BIGINT NOT NULL DEFAULT 0,  -- version of the newest targets, snapshot, timestamp
    counter        BIGINT NOT NULL DEFAULT -1, -- last accepted report_counter, -1 none
    manifest       TEXT   NOT NULL DEFAULT '', -- SHA-256 of the last accepted manifest
    manifest_at    BIGINT NOT NULL DEFAULT 0,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (namespace, device)
);

CREATE INDEX director_device_created ON director_device (namespace, created_at, device);

-- One row per serial a device ever registered; active says whether it is
-- there now. The installed image is what the ECU last reported.
CREATE TABLE director_ecu (
    namespace     TEXT    NOT NULL,
    device        TEXT    NOT NULL,
    serial        TEXT    NOT NULL,
    hardware_id   TEXT    NOT NULL,
    key           TEXT    NOT NULL,             -- JSON of the public key
    key_id        TEXT    NOT NULL,             -- '' unknown, or retired
    approved_key  TEXT    NOT NULL DEFAULT '',  -- id of the one new key the serial may bring
    active        BOOLEAN NOT NULL,
    registered_at BIGINT  NOT NULL,
    filename      TEXT    NOT NULL DEFAULT '',
    sha256        TEXT    NOT NULL DEFAULT '',
    length        BIGINT  NOT NULL DEFAULT 0,
    installed_at  BIGINT  NOT NULL DEFAULT 0,   -- first report of this image, 0 never reported
    attacks       TEXT    NOT NULL DEFAULT '',  -- attacks_detected of the last report
    PRIMARY KEY (namespace, device, serial)
);

CREATE INDEX director_ecu_hardware ON director_ecu (namespace, hardware_id, device) WHERE active;
CREATE INDEX director_ecu_filename ON director_ecu (namespace, filename) WHERE active;

-- A public key belongs to one device, also after it was retired.
CREATE TABLE director_ecu_key (
    namespace TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    device    TEXT NOT NULL,
    PRIMARY KEY (namespace, key_id)
);

-- A multi-target update: which image each hardware id gets.
CREATE TABLE director_update (
    namespace   TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    correlation TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    PRIMARY KEY (namespace, id)
);

CREATE TABLE director_update_target (
    namespace     TEXT   NOT NULL,
    update_id     TEXT   NOT NULL,
    hardware_id   TEXT   NOT NULL,
    filename      TEXT   NOT NULL,
    target        TEXT   NOT NULL,             -- the image's entry of the Image repository, JSON
    uri           TEXT   NOT NULL,             -- '' the device's own
    from_filename TEXT   NOT NULL DEFAULT '',  -- '' whatever is installed
    from_sha256   TEXT   NOT NULL DEFAULT '',
    PRIMARY KEY (namespace, update_id, hardware_id)
);

-- An image for an ECU. At most one is open per ECU.
CREATE TABLE director_assignment (
    namespace   TEXT    NOT NULL,
    device      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    hardware_id TEXT    NOT NULL,
    update_id   TEXT    NOT NULL,
    correlation TEXT    NOT NULL,
    filename    TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    uri         TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    open        BOOLEAN NOT NULL,
    code        TEXT    NOT NULL DEFAULT '',
    description TEXT    NOT NULL DEFAULT '',
    created_at  BIGINT  NOT NULL,
    created_by  TEXT    NOT NULL,
    offered_at  BIGINT  NOT NULL DEFAULT 0,
    ended_at    BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, device, id)
);

CREATE UNIQUE INDEX director_assignment_open ON director_assignment (namespace, device, serial) WHERE open;
CREATE INDEX director_assignment_update ON director_assignment (namespace, update_id, device);

-- Metadata of one device, written ahead: the payload first, its signature
-- later, by whichever replica comes first. Rows are never deleted and their
-- payload never changes: a version has one content.
CREATE TABLE director_document (
    namespace    TEXT    NOT NULL,
    device       TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    version      BIGINT  NOT NULL,
    root_version BIGINT  NOT NULL,  -- the root it is to be signed under
    epoch        BIGINT  NOT NULL,  -- of the device when it was written
    payload      BYTEA   NOT NULL,
    document     BYTEA,             -- with signatures, once sealed
    void         BOOLEAN NOT NULL DEFAULT FALSE,
    created_at   BIGINT  NOT NULL,
    expires      BIGINT  NOT NULL,
    capped       BOOLEAN NOT NULL,  -- expires with its root, not by its own life
    correlation  TEXT    NOT NULL,  -- of targets with entries, else ''
    assignments  TEXT    NOT NULL,  -- ids of the assignments listed, JSON
    PRIMARY KEY (namespace, device, role, version)
);

CREATE INDEX director_document_correlation ON director_document (namespace, device, correlation)
    WHERE correlation <> '';

-- Installation reports, each once however often it is sent.
CREATE TABLE director_report (
    namespace   TEXT    NOT NULL,
    device      TEXT    NOT NULL,
    digest      TEXT    NOT NULL,  -- SHA-256 of the report
    correlation TEXT    NOT NULL,
    success     BOOLEAN NOT NULL,
    code        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    report      TEXT    NOT NULL,  -- as sent, JSON
    received_at BIGINT  NOT NULL,
    PRIMARY KEY (namespace, device, digest)
);

-- What happened to a device and who did it.
CREATE TABLE director_history (
    namespace TEXT   NOT NULL,
    device    TEXT   NOT NULL,
    id        TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    actor     TEXT   NOT NULL,
    action    TEXT   NOT NULL,
    detail    TEXT   NOT NULL,     -- JSON
    PRIMARY KEY (namespace, device, id)
);
