-- The last signature is kept where batches are counted, so that signing needs no
-- index of all signatures: one of those that wait serves the clock and the sealer.
ALTER TABLE record_tree ADD COLUMN last_clock BIGINT NOT NULL DEFAULT 0;
ALTER TABLE record_tree ADD COLUMN last_signed BIGINT NOT NULL DEFAULT 0;
UPDATE record_tree SET last_clock = (SELECT COALESCE(MAX(clock), 0) FROM signature_clock),
	last_signed = (SELECT COALESCE(MAX(signed), 0) FROM signature_record WHERE clock = (SELECT COALESCE(MAX(clock), 0) FROM signature_clock));
DROP INDEX signature_record_clock;
DROP INDEX signature_record_waiting;
CREATE INDEX signature_record_waiting ON signature_record (clock, signed) WHERE batch IS NULL;
