-- What searches for packages look at. hardware has the hardware ids of a target,
-- each between line feeds; '?' where a row is older than the column, until the
-- server reads it once at its next start. made_at is createdAt of custom, or
-- added_at where there is none.
ALTER TABLE repo_target ADD COLUMN hardware TEXT NOT NULL DEFAULT '?';
ALTER TABLE repo_target ADD COLUMN made_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repo_delegated_target ADD COLUMN hardware TEXT NOT NULL DEFAULT '?';
ALTER TABLE repo_delegated_target ADD COLUMN made_at BIGINT NOT NULL DEFAULT 0;
