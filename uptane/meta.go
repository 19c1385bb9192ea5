package uptane

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// NewSnapshot lists targets metadata and delegations by version alone. A hash of
// targets.json would make aktualizr overlook a rollback.
func NewSnapshot(version int64, expires time.Time, targets int64, delegations map[Role]int64) *metadata.SnapshotType {
	s := metadata.Snapshot(expires).Signed
	s.Version = version
	s.Meta = map[string]*metadata.MetaFiles{RoleTargets.Filename(0): {Version: targets}}
	for role, v := range delegations {
		s.Meta[role.Filename(0)] = &metadata.MetaFiles{Version: v}
	}
	return &s
}

// NewTimestamp describes a snapshot document by the bytes in which it is served.
func NewTimestamp(f Flavour, version int64, expires time.Time, snapshot []byte) (*metadata.TimestampType, error) {
	e, err := ParseEnvelope(f, snapshot)
	if err != nil {
		return nil, fmt.Errorf("describing snapshot: %w", err)
	}
	signed, err := canonical.Parse(e.Signed, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("describing snapshot: %w", err)
	}
	if err := checkType(f, RoleSnapshot, signed); err != nil {
		return nil, fmt.Errorf("describing snapshot: %w", err)
	}
	described, _, err := headOf(signed)
	if err != nil {
		return nil, fmt.Errorf("describing snapshot: %w", err)
	}
	sum := sha256.Sum256(snapshot)
	t := metadata.Timestamp(expires).Signed
	t.Version = version
	t.Meta = map[string]*metadata.MetaFiles{RoleSnapshot.Filename(0): {
		Version: described, Length: int64(len(snapshot)), Hashes: metadata.Hashes{"sha256": sum[:]}}}
	return &t, nil
}
