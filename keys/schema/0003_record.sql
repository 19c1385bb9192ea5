-- The record is a tree of hashes over all that was signed and done. batch: the
-- number under which a row went into it; a row that has none waits for the next.
-- Only the short index of what waits is written when something is signed.
ALTER TABLE signature_record ADD COLUMN batch BIGINT;
CREATE INDEX signature_record_waiting ON signature_record (id) WHERE batch IS NULL;
CREATE INDEX signature_record_batch ON signature_record (batch, id) WHERE batch IS NOT NULL;
CREATE INDEX signature_record_message ON signature_record (message_sha256) WHERE batch IS NOT NULL;

ALTER TABLE audit ADD COLUMN batch BIGINT;
CREATE INDEX audit_waiting ON audit (id) WHERE batch IS NULL;
CREATE INDEX audit_batch ON audit (batch, id) WHERE batch IS NOT NULL;

-- What was gathered at one moment. leaves: the hash of each row, 32 bytes each,
-- in the order of ids. head: the hash of the tree up to this batch.
CREATE TABLE record_batch (
	number BIGINT NOT NULL PRIMARY KEY,
	sealed BIGINT NOT NULL,
	leaves BYTEA NOT NULL,
	head BYTEA NOT NULL
);

-- The hashes of the tree over the batches, by their place in the order of RFC 6962.
CREATE TABLE record_hash (
	position BIGINT NOT NULL PRIMARY KEY,
	hash BYTEA NOT NULL
);

-- One row: how many batches there are. Whoever adds the next one holds it.
CREATE TABLE record_tree (
	id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
	batches BIGINT NOT NULL
);
INSERT INTO record_tree (id, batches) VALUES (1, 0);
