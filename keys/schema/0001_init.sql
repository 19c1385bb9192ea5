-- Times are Unix milliseconds. Hashes, key ids and fingerprints are lower-case
-- hex of SHA-256. Tables without a namespace belong to the server as a whole.

-- Data keys: the key-encryption key wraps them, they seal private keys.
-- The highest number seals, the others still open.
CREATE TABLE sealing_key (
	number BIGINT NOT NULL PRIMARY KEY,
	wrapped BYTEA NOT NULL,
	created BIGINT NOT NULL
);

-- What replicas remember is dropped when the stamp has changed.
-- Names: roots, certificates.
CREATE TABLE keys_stamp (
	namespace TEXT NOT NULL,
	name TEXT NOT NULL,
	stamp TEXT NOT NULL,
	PRIMARY KEY (namespace, name)
);

-- What each public key is for, for ever: online keys, and all keys of roots.
CREATE TABLE public_key_use (
	key_id TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	repository TEXT NOT NULL CHECK (repository IN ('image', 'director')),
	role TEXT NOT NULL,
	created BIGINT NOT NULL
);

-- Private keys of online roles, PKCS#8 under AES-256-GCM: nonce, ciphertext.
CREATE TABLE online_key (
	namespace TEXT NOT NULL,
	key_id TEXT NOT NULL REFERENCES public_key_use (key_id),
	repository TEXT NOT NULL,
	role TEXT NOT NULL,
	spki BYTEA NOT NULL,
	sealed BYTEA NOT NULL,
	sealing_key BIGINT NOT NULL REFERENCES sealing_key (number),
	created BIGINT NOT NULL,
	PRIMARY KEY (namespace, key_id)
);
CREATE INDEX online_key_role ON online_key (namespace, repository, role);

-- Root metadata as served. keys_since: JSON, role -> the version in which the
-- role's set of keys last changed. twin: the same root in the TUF flavour.
CREATE TABLE root (
	namespace TEXT NOT NULL,
	repository TEXT NOT NULL CHECK (repository IN ('image', 'director')),
	version BIGINT NOT NULL,
	document BYTEA NOT NULL,
	twin BYTEA,
	keys_since TEXT NOT NULL,
	expires BIGINT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (namespace, repository, version)
);

-- Every use of an online key, insert-only. clock: how often a clock that had
-- gone back was accepted before; times are comparable within one value.
CREATE TABLE signature_record (
	id TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	repository TEXT NOT NULL,
	role TEXT NOT NULL,
	key_id TEXT NOT NULL,
	root_version BIGINT NOT NULL,
	message_sha256 TEXT NOT NULL,
	signed BIGINT NOT NULL,
	clock BIGINT NOT NULL
);
CREATE INDEX signature_record_clock ON signature_record (clock, signed);

CREATE TABLE signature_clock (
	clock BIGINT NOT NULL PRIMARY KEY,
	accepted BIGINT NOT NULL
);

-- Administrative acts, insert-only.
CREATE TABLE audit (
	id TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	created BIGINT NOT NULL,
	actor TEXT NOT NULL,
	action TEXT NOT NULL,
	detail TEXT NOT NULL
);
CREATE INDEX audit_created ON audit (namespace, created);

-- CA certificates. The server tree has the empty namespace. Roots have no
-- private key here. foreign: a CA of the customer's own.
CREATE TABLE authority (
	fingerprint TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	kind TEXT NOT NULL CHECK (kind IN ('server_root', 'server_root_next', 'server_root_old', 'server', 'device_root', 'device', 'foreign')),
	subject_sha256 TEXT NOT NULL,
	public_key_sha256 TEXT NOT NULL UNIQUE,
	certificate BYTEA NOT NULL,
	sealed BYTEA,
	sealing_key BIGINT REFERENCES sealing_key (number),
	created BIGINT NOT NULL,
	revoked BIGINT
);
CREATE INDEX authority_subject ON authority (subject_sha256);
CREATE INDEX authority_kind ON authority (namespace, kind, created);

-- The server's own certificates; the last one of a set of names is in use.
CREATE TABLE server_certificate (
	fingerprint TEXT NOT NULL PRIMARY KEY,
	names TEXT NOT NULL,
	issuer TEXT NOT NULL REFERENCES authority (fingerprint),
	certificate BYTEA NOT NULL,
	sealed BYTEA NOT NULL,
	sealing_key BIGINT NOT NULL REFERENCES sealing_key (number),
	created BIGINT NOT NULL
);
CREATE INDEX server_certificate_names ON server_certificate (names, created);

-- Who is a device: every client certificate that is let in.
CREATE TABLE certificate (
	fingerprint TEXT NOT NULL PRIMARY KEY,
	namespace TEXT NOT NULL,
	kind TEXT NOT NULL CHECK (kind IN ('bootstrap', 'device')),
	device TEXT NOT NULL,
	oemid TEXT NOT NULL,
	issuer TEXT NOT NULL REFERENCES authority (fingerprint),
	serial TEXT NOT NULL,
	not_before BIGINT NOT NULL,
	not_after BIGINT NOT NULL,
	created BIGINT NOT NULL,
	revoked BIGINT
);
CREATE INDEX certificate_device ON certificate (namespace, device);

-- What a bootstrap certificate may still do. 0 is no limit.
CREATE TABLE bootstrap (
	fingerprint TEXT NOT NULL PRIMARY KEY REFERENCES certificate (fingerprint),
	namespace TEXT NOT NULL,
	name TEXT NOT NULL,
	max_uses BIGINT NOT NULL,
	per_hour BIGINT NOT NULL,
	uses BIGINT NOT NULL,
	hour_start BIGINT NOT NULL,
	hour_uses BIGINT NOT NULL
);

-- Which device holds an OEMID and by what right. issuer: a foreign CA, or
-- empty. open: the next request takes it; revoked: nobody does.
CREATE TABLE enrolment (
	namespace TEXT NOT NULL,
	oemid TEXT NOT NULL,
	device TEXT NOT NULL,
	bootstrap TEXT NOT NULL,
	issuer TEXT NOT NULL,
	first_issued BIGINT NOT NULL,
	state TEXT NOT NULL CHECK (state IN ('held', 'open', 'revoked')),
	PRIMARY KEY (namespace, oemid)
);
CREATE INDEX enrolment_device ON enrolment (namespace, device);
