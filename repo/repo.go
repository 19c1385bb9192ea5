// Package repo is the Image repository: it takes targets metadata that people
// signed offline, keeps the images they name, and signs the snapshot and
// timestamp that tell devices what is current.
//
// # What is visible
//
// A push of targets metadata, its snapshot and its timestamp are one set. A set
// becomes visible whole, in one transaction, or not at all. Snapshots and
// timestamps are written ahead: the payload is stored under its version first,
// then exactly that payload is signed, by whichever replica comes first, and
// the first signed bytes stored are the ones that are served. A version never
// has a second content. They are renewed when somebody reads them, never in the
// background; any number of replicas serve the same bytes.
//
// # Images
//
// A filename means the same bytes for ever. Images are uploaded in parts under
// the filename they will have; no device can download them before signed metadata
// names them with the right hash and length. What no target names is deleted
// after a while ([Repo.Sweep]).
//
// What a caller may be told is a fault. A [Repo] is safe for concurrent use, also
// by several processes on one database and bucket.
package repo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"gocloud.dev/blob"
	"golang.org/x/sync/singleflight"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Lifetimes of what is signed here, and how much must be left of it when it is
// signed or served.
const (
	SnapshotLife  = 31 * 24 * time.Hour
	TimestampLife = 7 * 24 * time.Hour
	minLeft       = 72 * time.Hour
)

// RootTwins keeps the TUF flavour of the roots of Image repositories.
type RootTwins interface {
	// RootTwinVersion is the version of the last root that has a twin, 0 if none
	// has; it answers from memory like Config.RootVersion.
	RootTwinVersion(context.Context, uptane.Namespace) (int, error)
	// RootTwin returns a twin, or a fault.
	RootTwin(ctx context.Context, ns uptane.Namespace, version int) ([]byte, error)
	// PutRootTwin adds the twin of the earliest root that lacks one, or answers a
	// fault.
	PutRootTwin(ctx context.Context, ns uptane.Namespace, twin []byte) error
}

// What bounds an uploaded image and its parts, in bytes, where Config does not.
const (
	DefaultMaxImage = 3_000_000_000
	DefaultPartSize = 100 << 20
)

// Config says what a Repo stands on. All but the sizes, PutRoots, RootTwins,
// RequireRoot, Secrets, PrivateRemotes, RemoteTime, Now and Log is required.
type Config struct {
	DB     *db.DB
	Bucket *blob.Bucket  // no other keys than Repo's
	Signer uptane.Signer // for snapshot and timestamp
	Roots  uptane.Roots
	// RootVersion is the version of the current root; asked for every read, so it
	// must answer from memory and lag at most a second behind the database.
	RootVersion func(context.Context, uptane.Namespace, uptane.Repository) (int, error)
	// RoleKeysSince is the version of the root in which the keys of a role last
	// changed.
	RoleKeysSince func(context.Context, uptane.Namespace, uptane.Repository, uptane.Role) (int, error)
	// PutRoots makes a root the current one, with its TUF twin or nil. Nil
	// refuses new roots.
	PutRoots func(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, root, tuf []byte) error
	// RootTwins are the roots of TUF clients; nil offers none.
	RootTwins RootTwins
	// RequireRoot answers a fault while a root newer than the current one is known
	// to exist, after a backup was restored; from memory like RootVersion. Nil
	// never does.
	RequireRoot func(context.Context, uptane.Namespace, uptane.Repository) error
	// Complete returns a fault that names what is absent unless a commit is
	// completely stored in TreeHub.
	Complete func(context.Context, uptane.Namespace, ostree.Checksum) error
	// Witnessed is what a new timestamp says in its custom, so that whoever has
	// the timestamp is a witness of it: the head of the record. Nil says nothing.
	Witnessed func(context.Context) (map[string]any, error)
	// Act enters an administrative act in the audit, in the transaction that does
	// it; nil enters none.
	Act func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error
	// Secrets seals the headers of remote delegations; nil takes none.
	Secrets Secrets
	// PrivateRemotes lets remote delegations be fetched from addresses that are
	// not public: loopback, link-local, private ones.
	PrivateRemotes bool
	// RemoteTime is how long fetching remote metadata may take in all; 0 is
	// DefaultRemoteTime.
	RemoteTime time.Duration
	// Replicas: other processes serve the same repositories.
	Replicas bool
	// MaxImage is the largest image accepted, in bytes; 0 is DefaultMaxImage.
	MaxImage int64
	// PartSize is the size of all parts of an upload but the last, in bytes; 0 is
	// DefaultPartSize.
	PartSize int64
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Log takes what no caller sees; nil discards it.
	Log *slog.Logger
}

// Repo serves the Image repositories of all namespaces.
type Repo struct {
	store  store
	bucket *blob.Bucket
	cfg    Config
	now    func() time.Time
	log    *slog.Logger

	flight   singleflight.Group // one reading of a tree at a time
	sets     sync.Map           // tree -> *view
	calm     sync.Map           // uptane.Namespace -> time.Time: when it was seen not to be in recovery
	roots    sync.Map           // uptane.Namespace -> *rootDocument
	chains   sync.Map           // tree -> acceptance.Chain
	verdicts sync.Map           // uptane.Namespace -> verdict
	queues   sync.Map           // uptane.Namespace -> chan struct{}: who publishes delegated metadata
}

// New brings the tables up to date and returns a Repo.
func New(ctx context.Context, c Config) (*Repo, error) {
	if c.DB == nil || c.Bucket == nil || c.Signer == nil || c.Roots == nil ||
		c.RootVersion == nil || c.RoleKeysSince == nil || c.Complete == nil {
		return nil, errors.New("starting Image repository: something required is missing from its configuration")
	}
	if c.MaxImage == 0 {
		c.MaxImage = DefaultMaxImage
	}
	if c.PartSize == 0 {
		c.PartSize = DefaultPartSize
	}
	if c.RemoteTime == 0 {
		c.RemoteTime = DefaultRemoteTime
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Repo{store: store{c.DB}, bucket: c.Bucket, cfg: c, now: c.Now, log: c.Log}
	if err := r.store.migrate(ctx); err != nil {
		return nil, err
	}
	if err := r.catalogue(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Create gives a namespace an Image repository and returns its id. The
// repository serves nothing until a root is known to Config.Roots and targets
// have been pushed. It answers ErrExists if the namespace has one.
func (r *Repo) Create(ctx context.Context, ns uptane.Namespace) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("naming the repository of %s: %w", ns, err)
	}
	err = r.acting(ctx, ns, actCreate, "Image repository "+id.String(), func(ctx context.Context, tx *sqlx.Tx) error {
		return r.store.addRepository(ctx, tx, ns, id.String(), r.now().UnixMilli())
	})
	if errors.Is(err, db.ErrExists) {
		return "", ErrExists.With("the namespace has a repository")
	}
	if err != nil {
		return "", fmt.Errorf("creating the repository of %s: %w", ns, err)
	}
	return id.String(), nil
}

// ID returns what x-ats-tuf-repo-id says: the repository's name on the wire. It
// answers ErrNoRepository if the namespace has none.
func (r *Repo) ID(ctx context.Context, ns uptane.Namespace) (string, error) {
	if v := r.view(tree{ns, uptane.Uptane}).get(); v != nil {
		return v.repository.ID, nil
	}
	row, err := r.repository(ctx, ns)
	return row.ID, err
}

func (r *Repo) repository(ctx context.Context, ns uptane.Namespace) (repositoryRow, error) {
	row, err := r.store.repository(ctx, ns)
	if errors.Is(err, db.ErrNoRows) {
		return row, ErrNoRepository
	}
	if err != nil {
		return row, fmt.Errorf("reading the repository of %s: %w", ns, err)
	}
	return row, nil
}
