-- After a backup was restored, devices may know more than the database: newer
-- roots, certificates issued since. A namespace is in recovery until a person
-- ends it.
CREATE TABLE recovery (
	namespace TEXT NOT NULL PRIMARY KEY,
	backup_at BIGINT NOT NULL,
	restored_at BIGINT NOT NULL,
	ended_at BIGINT
);

-- The highest root that is known to exist, here or elsewhere. While the current
-- one is older, devices get nothing of the repository.
CREATE TABLE root_floor (
	namespace TEXT NOT NULL,
	repository TEXT NOT NULL CHECK (repository IN ('image', 'director')),
	version BIGINT NOT NULL,
	shown_by TEXT NOT NULL,
	shown_at BIGINT NOT NULL,
	PRIMARY KEY (namespace, repository)
);

-- Certificates of our own device CAs that came during recovery and are not in
-- the table: issued after the backup was made, or forged.
CREATE TABLE lost_certificate (
	fingerprint TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	oemid TEXT NOT NULL,
	issuer TEXT NOT NULL REFERENCES authority (fingerprint),
	certificate BYTEA NOT NULL,
	first_seen BIGINT NOT NULL,
	last_seen BIGINT NOT NULL
);
CREATE INDEX lost_certificate_oemid ON lost_certificate (namespace, oemid);
