package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// twinLife is how long a TUF twin waits for the document it belongs to.
const twinLife = 24 * time.Hour

// StageTwin keeps the TUF document of a root or targets that is about to be
// pushed. The push publishes both if they say the same; a twin whose document
// does not come within a day is forgotten. Several may wait at once. Targets
// must be signed by the current keys, a root by its own. It answers ErrInvalid
// or ErrTooLarge.
func (r *Repo) StageTwin(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte) error {
	if len(doc) > MaxTargets {
		return ErrTooLarge.Withf("%d bytes, of at most %d", len(doc), MaxTargets)
	}
	if _, err := r.repository(ctx, ns); err != nil {
		return err
	}
	row := twinRow{CreatedAt: r.now().UnixMilli()}
	switch role {
	case uptane.RoleRoot:
		d, err := uptane.OpenRoot(uptane.TUF, doc, nil, time.Time{})
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		row.Digest, row.Version, row.Document = rootDigest(&d.Payload), int(d.Payload.Version), d.Raw
	case uptane.RoleTargets:
		ring, err := r.targetsRing(ctx, ns)
		if err != nil {
			return err
		}
		d, err := uptane.Open[metadata.TargetsType](uptane.TUF, doc, role, ring, time.Time{})
		if err != nil {
			return ErrInvalid.With(err.Error())
		}
		row.Digest, row.Version, row.Document = targetsDigest(&d.Payload), int(d.Payload.Version), d.Raw
	default:
		return ErrRoleMissing.Withf("twins of %s are not staged", role)
	}
	if err := r.store.addTwin(ctx, ns, role, row); err != nil {
		return fmt.Errorf("staging twin of %s of %s: %w", role, ns, err)
	}
	return nil
}

// targetsDigest names what both flavours of targets say, whatever else the
// Uptane one says about each target.
func targetsDigest(t *metadata.TargetsType) string {
	files := make([]canonical.Value, 0, len(t.Targets))
	for _, name := range slices.Sorted(maps.Keys(t.Targets)) {
		file := t.Targets[name]
		files = append(files, canonical.List(canonical.Text(name), canonical.Int(file.Length),
			canonical.Text(hex.EncodeToString(file.Hashes["sha256"]))))
	}
	return digest(uptane.RoleTargets, t.Version, t.Expires, canonical.List(files...))
}

// rootDigest leaves the keys to the comparison of the twins.
func rootDigest(root *metadata.RootType) string {
	return digest(uptane.RoleRoot, root.Version, root.Expires, canonical.List())
}

func digest(role uptane.Role, version int64, expires time.Time, content canonical.Value) string {
	v := canonical.List(canonical.Text(string(role)), canonical.Int(version), canonical.Int(expires.Unix()), content)
	sum := sha256.Sum256(v.Uptane())
	return hex.EncodeToString(sum[:])
}

// twin returns the staged TUF document of a payload, nil if there is none that
// says the same.
func (r *Repo) twin(ctx context.Context, ns uptane.Namespace, role uptane.Role, digest string, signed []byte) ([]byte, error) {
	row, err := r.store.twin(ctx, ns, role, digest)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading twin of %s of %s: %w", role, ns, err)
	}
	if row.PublishedAt == 0 && r.now().Sub(time.UnixMilli(row.CreatedAt)) > twinLife {
		return nil, nil
	}
	e, err := uptane.ParseEnvelope(uptane.TUF, row.Document)
	if err == nil {
		err = uptane.Twins(role, signed, e.Signed)
	}
	if err != nil {
		r.log.WarnContext(ctx, "staged TUF document left out", "namespace", ns, "role", role, "reason", err)
		return nil, nil
	}
	return row.Document, nil
}
