-- How long pushed targets must be good at least, in milliseconds; 0 any time.
ALTER TABLE repo_repository ADD COLUMN min_targets_life BIGINT NOT NULL DEFAULT 0;
