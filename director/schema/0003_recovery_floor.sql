-- After a backup was restored: devices that register later, because their
-- registration is lost, have seen versions too. Theirs continue here at least.
CREATE TABLE director_recovery (
	namespace TEXT NOT NULL PRIMARY KEY,
	version_floor BIGINT NOT NULL
);
