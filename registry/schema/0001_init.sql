-- A device: our id, its own name, when it was last heard of.
CREATE TABLE registry_device (
    namespace    TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    oemid        TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    notes        TEXT   NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    activated_at BIGINT NOT NULL DEFAULT 0,  -- first ECU registration, 0 never
    last_seen    BIGINT NOT NULL DEFAULT 0,  -- 0 never
    PRIMARY KEY (namespace, id)
);

CREATE UNIQUE INDEX registry_device_oemid ON registry_device (namespace, oemid);
CREATE INDEX registry_device_created ON registry_device (namespace, created_at, id);

-- What a device says of itself, as sent and masked: system_info, network, config.
CREATE TABLE registry_document (
    namespace  TEXT   NOT NULL,
    device     TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, device, kind)
);

-- Which kinds of ECU a device has, for searching.
CREATE TABLE registry_hardware (
    namespace   TEXT NOT NULL,
    device      TEXT NOT NULL,
    hardware_id TEXT NOT NULL,
    PRIMARY KEY (namespace, hardware_id, device)
);

CREATE INDEX registry_hardware_device ON registry_hardware (namespace, device);

-- Software that a device reports as installed.
CREATE TABLE registry_package (
    namespace  TEXT   NOT NULL,
    device     TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, device, name, version)
);

CREATE INDEX registry_package_name ON registry_package (namespace, name, version);

-- Events in the device's own words; id is the device's, so that what is sent
-- twice is stored once.
CREATE TABLE registry_event (
    namespace   TEXT   NOT NULL,
    device      TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    type        TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    ecu         TEXT   NOT NULL,
    correlation TEXT   NOT NULL,
    payload     TEXT   NOT NULL,
    device_time BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, device, id)
);

CREATE INDEX registry_event_received ON registry_event (namespace, device, received_at, id);

-- What the Director learnt, in order: installed images, registrations, reports.
CREATE TABLE registry_history (
    namespace   TEXT   NOT NULL,
    device      TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    kind        TEXT   NOT NULL,
    ecu         TEXT   NOT NULL,
    correlation TEXT   NOT NULL,
    detail      TEXT   NOT NULL,  -- JSON
    PRIMARY KEY (namespace, device, id)
);
