-- After a backup was restored. Snapshots and timestamps continue at
-- version_floor at least, and older ones are not served: clients may have seen
-- newer ones than the backup has. While the visible targets are older than
-- targets_floor, which exist somewhere, clients get nothing.
ALTER TABLE repo_repository ADD COLUMN recovering BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE repo_repository ADD COLUMN version_floor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repo_repository ADD COLUMN targets_floor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repo_repository ADD COLUMN targets_shown_by TEXT NOT NULL DEFAULT '';
