// Package treehub keeps the OSTree objects, refs and commits of each namespace.
//
// An object is verified while it streams into the bucket and becomes visible
// only if its bytes are what its name promises; nothing of a refused one stays
// behind. When a method that writes returns nil, the result is on disk. What a
// caller may be told is a fault.
//
// # Complete objects
//
// A commit or dirtree is complete when everything below it is stored too (a
// commit's parent is not below it); any other object is complete as soon as it
// is stored. Only complete objects are reported and served. Objects may arrive
// in any order: a commit that comes before its files is stored at once
// and appears when the last of them does, so that a client that asked for the
// commit, was told "no" and sends everything below it again ends with the whole
// tree, whoever else was pushing.
//
// Each stored object counts the children it lacks, and an object that becomes
// complete counts down its waiting parents, so that a push costs one short
// transaction an object, in whatever order and however many push at once.
//
// # Blobs
//
// The key of a blob is NAMESPACE/objects/XX/REST.TYPE.GENERATION. Every upload
// gets a generation of its own, so that deleting an old blob can never
// hit a new one. Blobs without a row are left-overs of a crash; a row without
// its blob is damage.
package treehub

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gocloud.dev/blob"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Faults a caller may meet.
var (
	ErrObjectMissing  = fault.New(fault.NotFound, "object_missing", "no such object")
	ErrObjectExists   = fault.New(fault.Conflict, "object_exists", "the object is already stored")
	ErrInvalidObject  = fault.New(fault.Invalid, "invalid_object", "the object breaks a rule of its format")
	ErrObjectTooLarge = fault.New(fault.TooLarge, "object_too_large", "the object is too large")
	ErrUploadBroken   = fault.New(fault.Invalid, "upload_incomplete", "the upload ended early")
	ErrCommitMissing  = fault.New(fault.PreconditionFailed, "commit_missing", "the commit is not completely stored")
	ErrRefMissing     = fault.New(fault.NotFound, "missing_entity", "no such ref")
	ErrInvalidRef     = fault.New(fault.Invalid, "invalid_ref", "not a ref name")
	ErrForcePush      = fault.New(fault.PreconditionFailed, "ref_not_an_ancestor", "Cannot force push")
	ErrManifest       = fault.New(fault.Invalid, "invalid_manifest", "the manifest is not a JSON object")
	ErrNoManifest     = fault.New(fault.NotFound, "manifest_missing", "no manifest of this commit")
)

//go:embed schema/*.sql
var schema embed.FS

// Config says what a TreeHub stands on.
type Config struct {
	DB     *db.DB
	Bucket *blob.Bucket // no other keys than TreeHub's
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Log takes what no caller sees; nil discards it.
	Log *slog.Logger
}

// TreeHub serves all namespaces. It is safe for concurrent use, also by
// several processes on one database and bucket.
type TreeHub struct {
	store  store
	bucket *blob.Bucket
	queue  queue
	now    func() time.Time
	log    *slog.Logger
}

// New brings the tables up to date and returns a TreeHub.
func New(ctx context.Context, c Config) (*TreeHub, error) {
	if c.DB == nil || c.Bucket == nil {
		return nil, errors.New("starting TreeHub: it needs a database and a bucket")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := db.Migrate(ctx, c.DB, "treehub", schema); err != nil {
		return nil, fmt.Errorf("starting TreeHub: %w", err)
	}
	return &TreeHub{store: store{c.DB}, bucket: c.Bucket, queue: queue{free: make(chan struct{}, 1)}, now: c.Now, log: c.Log}, nil
}

// RepoConfig returns the config file of an archive repository as clients read
// it. It announces an index of static deltas, so that clients look there and
// neither for a summary nor for deltas by guessing.
func RepoConfig() []byte {
	return []byte("[core]\nrepo_version=1\nmode=archive-z2\nindexed-deltas=true\n")
}

// MaxMissing is how many names [TreeHub.Missing] takes at once.
const MaxMissing = 4096

// Missing returns which of names are not here or not complete, in the order
// given. It is what one HEAD after the other would say.
func (t *TreeHub) Missing(ctx context.Context, ns uptane.Namespace, names []ostree.ObjectName) ([]ostree.ObjectName, error) {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = name.String()
	}
	have, err := t.store.complete(ctx, t.store.db, ns, keys)
	if err != nil {
		return nil, fmt.Errorf("looking for objects of %s: %w", ns, err)
	}
	missing := []ostree.ObjectName{}
	for i, name := range names {
		if !have[keys[i]] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// RequireComplete answers ErrCommitMissing, naming what is absent, unless the
// commit is complete.
func (t *TreeHub) RequireComplete(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum) error {
	name := ostree.ObjectName{Checksum: commit, Type: ostree.TypeCommit}
	o, err := t.store.object(ctx, t.store.db, ns, name)
	switch {
	case errors.Is(err, db.ErrNoRows), err == nil && !o.stored():
		return ErrCommitMissing.Withf("%s is not stored", name)
	case err != nil:
		return fmt.Errorf("looking for %s of %s: %w", name, ns, err)
	case o.complete():
		return nil
	}
	const named = 5
	gaps, err := t.store.gaps(ctx, ns, name.String(), named+1)
	if err != nil {
		return fmt.Errorf("looking for what %s of %s lacks: %w", name, ns, err)
	}
	return ErrCommitMissing.With(lacking(name, gaps, named))
}

func lacking(name ostree.ObjectName, gaps []string, named int) string {
	text := fmt.Sprintf("%s is stored without ", name)
	for i, gap := range gaps[:min(len(gaps), named)] {
		if i > 0 {
			text += ", "
		}
		text += gap
	}
	if len(gaps) > named {
		text += " and more"
	}
	return text
}
