-- An object that is stored, or that a stored object refers to.
CREATE TABLE treehub_object (
	namespace TEXT NOT NULL,
	name TEXT NOT NULL,          -- CHECKSUM.TYPE
	generation TEXT NOT NULL,    -- end of the blob's key; '' while only referred to
	size BIGINT NOT NULL,        -- bytes of the blob
	lacks BIGINT NOT NULL,       -- incomplete children, plus 1 while its own bytes are not here; 0 = complete
	stored_at BIGINT NOT NULL,   -- Unix ms
	PRIMARY KEY (namespace, name)
);

-- parent refers to child. waiting: child is one of those that parent lacks.
CREATE TABLE treehub_edge (
	namespace TEXT NOT NULL,
	parent TEXT NOT NULL,
	child TEXT NOT NULL,
	waiting BOOLEAN NOT NULL,
	PRIMARY KEY (namespace, parent, child)
);
CREATE INDEX treehub_edge_waiting ON treehub_edge (namespace, child) WHERE waiting;

-- What a stored commit says, and who brought it.
CREATE TABLE treehub_commit (
	namespace TEXT NOT NULL,
	checksum TEXT NOT NULL,
	parent TEXT NOT NULL,        -- checksum or ''
	subject TEXT NOT NULL,
	committed_at BIGINT NOT NULL,-- Unix ms, as the committer says
	pushed_at BIGINT NOT NULL,   -- Unix ms
	pushed_by TEXT NOT NULL,     -- token id or other name of the uploader
	objects BIGINT NOT NULL,     -- of its closure, itself included; -1 = not measured yet
	size BIGINT NOT NULL,        -- their stored bytes; -1 = not measured yet
	PRIMARY KEY (namespace, checksum)
);
CREATE INDEX treehub_commit_pushed ON treehub_commit (namespace, pushed_at, checksum);

CREATE TABLE treehub_ref (
	namespace TEXT NOT NULL,
	name TEXT NOT NULL,          -- short: main for refs/heads/main
	checksum TEXT NOT NULL,
	updated_at BIGINT NOT NULL,  -- Unix ms
	updated_by TEXT NOT NULL,
	PRIMARY KEY (namespace, name)
);
CREATE INDEX treehub_ref_checksum ON treehub_ref (namespace, checksum);

-- The source manifest (Android repo tool, as JSON) a commit was built from.
CREATE TABLE treehub_manifest (
	namespace TEXT NOT NULL,
	checksum TEXT NOT NULL,
	document TEXT NOT NULL,
	updated_at BIGINT NOT NULL,  -- Unix ms
	PRIMARY KEY (namespace, checksum)
);
