-- A root that people are signing: at most one of each repository. model: JSON, what
-- it says. document, twin: its two flavours with the signatures so far, twin empty
-- for the Director. made: JSON, the ids of the online keys that were made for it.
-- changes: raised by whoever adds signatures, who holds the row by that.
CREATE TABLE root_draft (
	namespace TEXT NOT NULL,
	repository TEXT NOT NULL CHECK (repository IN ('image', 'director')),
	id TEXT NOT NULL,
	version BIGINT NOT NULL,
	model TEXT NOT NULL,
	document BYTEA NOT NULL,
	twin BYTEA,
	made TEXT NOT NULL,
	changes BIGINT NOT NULL,
	created BIGINT NOT NULL,
	ends BIGINT NOT NULL,
	created_by TEXT NOT NULL,
	PRIMARY KEY (namespace, repository)
);
