-- Below which role of the top level a role was delegated to last, '' at the top
-- level itself: what one supplier makes is counted apart from all else.
ALTER TABLE repo_delegation ADD COLUMN branch TEXT NOT NULL DEFAULT '';
