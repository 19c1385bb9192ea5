-- Since when a private key is here that came from another server: copies of it may
-- be elsewhere. NULL for keys that were made here.
ALTER TABLE online_key ADD COLUMN imported BIGINT;

-- A namespace whose roots and keys were taken over from another server. Until the
-- rest is here too, devices get nothing of it.
CREATE TABLE takeover (
	namespace TEXT NOT NULL PRIMARY KEY,
	begun BIGINT NOT NULL,
	finished BIGINT
);
