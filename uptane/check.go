package uptane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The functions of this file are the checks of a client that verifies fully, in
// the order of the Uptane standard. Open does those that need one document
// alone. A trusted argument is what the client verified last, nil where it has
// none; after the keys of a role changed in root it must be nil (Uptane, "How to
// check Root metadata", last step).

// CheckTimestamp refuses a timestamp, or a snapshot named by it, that is older
// than what is trusted (Uptane, "How to check Timestamp metadata"). Errors wrap
// ErrRollback or ErrMix.
func CheckTimestamp(trusted, next *metadata.TimestampType) error {
	name := RoleSnapshot.Filename(0)
	meta := next.Meta[name]
	if meta == nil {
		return fmt.Errorf("checking timestamp that names no snapshot: %w", ErrMix)
	}
	if trusted == nil {
		return nil
	}
	if next.Version < trusted.Version {
		return fmt.Errorf("checking timestamp version %d after %d: %w", next.Version, trusted.Version, ErrRollback)
	}
	if old := trusted.Meta[name]; old != nil && meta.Version < old.Version {
		return fmt.Errorf("checking snapshot version %d in timestamp after %d: %w", meta.Version, old.Version, ErrRollback)
	}
	return nil
}

// CheckSnapshot holds a snapshot document against the timestamp that names it and
// against the trusted one (Uptane, "How to check Snapshot metadata"): hashes,
// length and version are as named, no version of listed targets went down and none
// of them left the list. Errors wrap ErrMix or ErrRollback.
func CheckSnapshot(timestamp *metadata.TimestampType, doc []byte, trusted, next *metadata.SnapshotType) error {
	meta := timestamp.Meta[RoleSnapshot.Filename(0)]
	if meta == nil {
		return fmt.Errorf("checking snapshot that timestamp does not name: %w", ErrMix)
	}
	if meta.Version != next.Version {
		return fmt.Errorf("checking snapshot version %d where timestamp names %d: %w", next.Version, meta.Version, ErrMix)
	}
	if meta.Length != 0 && meta.Length != int64(len(doc)) {
		return fmt.Errorf("checking snapshot of %d bytes where timestamp names %d: %w", len(doc), meta.Length, ErrMix)
	}
	if !hashesMatch(meta.Hashes, doc) {
		return fmt.Errorf("checking snapshot whose hash is not in timestamp: %w", ErrMix)
	}
	if trusted == nil {
		return nil
	}
	for name, old := range trusted.Meta {
		if name == RoleRoot.Filename(0) {
			continue // some servers list it, too; what must stay are targets metadata
		}
		now := next.Meta[name]
		if now == nil {
			return fmt.Errorf("checking snapshot that lists %s no longer: %w", name, ErrRollback)
		}
		if now.Version < old.Version {
			return fmt.Errorf("checking snapshot with %s version %d after %d: %w", name, now.Version, old.Version, ErrRollback)
		}
	}
	if next.Version < trusted.Version {
		return fmt.Errorf("checking snapshot version %d after %d: %w", next.Version, trusted.Version, ErrRollback)
	}
	return nil
}

// CheckTargets holds targets metadata, or those of a delegation, against the
// snapshot and against the trusted ones (Uptane, "How to check Targets
// metadata", first steps). Errors wrap ErrMix or ErrRollback.
func CheckTargets(snapshot *metadata.SnapshotType, role Role, doc []byte, trusted, next *metadata.TargetsType) error {
	meta := snapshot.Meta[role.Filename(0)]
	if meta == nil {
		return fmt.Errorf("checking %s that snapshot does not list: %w", role, ErrMix)
	}
	if meta.Version != next.Version {
		return fmt.Errorf("checking %s version %d where snapshot lists %d: %w", role, next.Version, meta.Version, ErrMix)
	}
	if len(meta.Hashes) > 0 && !hashesMatch(meta.Hashes, doc) {
		return fmt.Errorf("checking %s whose hash is not in snapshot: %w", role, ErrMix)
	}
	if trusted != nil && next.Version < trusted.Version {
		return fmt.Errorf("checking %s version %d after %d: %w", role, next.Version, trusted.Version, ErrRollback)
	}
	return nil
}

// CheckAssignments reads Director targets for a vehicle with these ECUs (Uptane,
// "How to check Targets metadata", last steps): no delegations, only ECUs of the
// vehicle with their hardware ids, none twice. It returns the image of each ECU.
// Errors wrap ErrECU, ErrMix or ErrMalformed.
func CheckAssignments(t *metadata.TargetsType, ecus map[ECUSerial]HardwareID) (map[ECUSerial]Target, error) {
	if t.Delegations != nil && len(t.Delegations.Roles) > 0 {
		return nil, fmt.Errorf("checking Director targets that delegate: %w", ErrMix)
	}
	out := map[ECUSerial]Target{}
	for name, file := range t.Targets {
		target, err := TargetOf(name, file)
		if err != nil {
			return nil, err
		}
		for serial, id := range target.Custom.ECUs {
			if known, ok := ecus[serial]; !ok || known != id {
				return nil, &ECUError{serial, fmt.Errorf("assigned %q for hardware id %q: %w", name, id, ErrECU)}
			}
			if other, ok := out[serial]; ok {
				return nil, &ECUError{serial, fmt.Errorf("assigned %q and %q: %w", other.Filename, name, ErrECU)}
			}
			out[serial] = target
		}
	}
	return out, nil
}

// MatchImage holds a Director entry against the entry of the same file name in
// the Image repository, for an ECU of that hardware id (Uptane, "Full
// verification", last steps): same name and length, all hashes that both have
// equal and at least one, same release counter, and the image is for the ECU's
// hardware. Errors wrap ErrImage.
func MatchImage(director, image Target, id HardwareID) error {
	var why string
	switch {
	case director.Filename != image.Filename:
		why = "file name"
	case director.Length != image.Length:
		why = "length"
	case !commonHashes(director.Hashes, image.Hashes):
		why = "hashes"
	case director.Custom.ReleaseCounter != image.Custom.ReleaseCounter:
		why = "release counter"
	case !slices.Contains(image.Custom.HardwareIDs, id):
		why = fmt.Sprintf("hardware id %q", id)
	default:
		return nil
	}
	return fmt.Errorf("matching image %q of both repositories: %s: %w", director.Filename, why, ErrImage)
}

// CheckRelease refuses an image whose release counter is below that of the
// installed one (Uptane, "How to verify an image"). Errors wrap ErrRollback.
func CheckRelease(installed, next Target) error {
	if next.Custom.ReleaseCounter < installed.Custom.ReleaseCounter {
		return fmt.Errorf("checking release counter %d of image %q after %d: %w",
			next.Custom.ReleaseCounter, next.Filename, installed.Custom.ReleaseCounter, ErrRollback)
	}
	return nil
}

func commonHashes(a, b metadata.Hashes) bool {
	common := false
	for name, sum := range a {
		other, ok := b[name]
		if ok && !bytes.Equal(sum, other) {
			return false
		}
		common = common || ok
	}
	return common
}

// hashesMatch demands at least one hash of a known kind and that all of them fit.
func hashesMatch(named metadata.Hashes, doc []byte) bool {
	sum256, sum512 := sha256.Sum256(doc), sha512.Sum512(doc)
	return commonHashes(metadata.Hashes{"sha256": sum256[:], "sha512": sum512[:]}, named)
}
