-- After a backup was restored, the device's metadata continue at this version at
-- least: it may have seen newer ones than the backup has.
ALTER TABLE director_device ADD COLUMN version_floor BIGINT NOT NULL DEFAULT 0;
