package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"sealift/uptane"
)

// Document is metadata as it is served.
type Document struct {
	Bytes      []byte // canonical JSON; the caller must not change them
	Checksum   string // SHA-256 of Bytes in lower-case hex
	Repository string // what x-ats-tuf-repo-id says
	Behind     int    // by how many versions the targets of TUF lag; else 0
}

// Metadata returns a metadata document by its file name: root.json, N.root.json,
// targets.json, snapshot.json or timestamp.json. Snapshot and timestamp are
// renewed when they have too little time left. It answers ErrRoleMissing, the
// fault of Config.Roots for a root that is not there, or a fault of
// Config.Signer when what is stored cannot be served any more and nothing new
// can be signed.
func (r *Repo) Metadata(ctx context.Context, ns uptane.Namespace, filename string) (Document, error) {
	role, version, err := uptane.ParseFilename(filename)
	if err != nil || version != 0 && role != uptane.RoleRoot || !role.TopLevel() {
		return Document{}, ErrRoleMissing.Withf("%q is not metadata of this repository", filename)
	}
	if role == uptane.RoleRoot {
		return r.rootMetadata(ctx, ns, version)
	}
	s, err := r.current(ctx, tree{ns, uptane.Uptane})
	if err != nil {
		return Document{}, err
	}
	switch role {
	case uptane.RoleTargets:
		return s.targets(), nil
	case uptane.RoleSnapshot:
		return s.serve(s.snapshot, r.now())
	default:
		return s.serve(s.timestamp, r.now())
	}
}

func (r *Repo) rootMetadata(ctx context.Context, ns uptane.Namespace, version int) (Document, error) {
	raw, err := r.cfg.Roots.Root(ctx, ns, uptane.ImageRepository, version)
	if err != nil {
		return Document{}, fmt.Errorf("reading root of %s: %w", ns, err)
	}
	id, err := r.ID(ctx, ns)
	if err != nil {
		return Document{}, err
	}
	return Document{Bytes: raw, Checksum: checksum(raw), Repository: id}, nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// set is what clients see of a tree at one moment. Once shared it is not
// changed.
type set struct {
	repository repositoryRow
	root       int
	edition    // push with the document of the flavour
	behind     int
	snapshot   documentRow // without Document where there is none to serve
	timestamp  documentRow
	read       time.Time
	failed     error // why there are no newer ones
}

func (s *set) document(raw []byte, sum string) Document {
	return Document{Bytes: raw, Checksum: sum, Repository: s.repository.ID, Behind: s.behind}
}

func (s *set) targets() Document { return s.document(s.push.Document, s.push.Checksum) }

// serve returns d unless its time is over, which has a reason.
func (s *set) serve(d documentRow, now time.Time) (Document, error) {
	if d.Document == nil || !now.Before(time.UnixMilli(d.Expires)) {
		if s.failed == nil {
			return Document{}, ErrRootExpired
		}
		return Document{}, s.failed
	}
	return s.document(d.Document, checksum(d.Document)), nil
}

// complete reports whether there is nothing to renew.
func (s *set) complete(now time.Time) bool {
	notBefore := s.repository.NotBefore
	return s.snapshot.Document != nil && !s.snapshot.aged(SnapshotLife, now, notBefore) &&
		s.timestamp.Document != nil && !s.timestamp.aged(TimestampLife, now, notBefore)
}
