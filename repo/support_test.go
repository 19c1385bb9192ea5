package repo_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"gocloud.dev/blob"

	"sealift/internal/db"
	"sealift/internal/diskblob"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/repo"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

const ns = uptane.Namespace("acme")

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a namespace with its offline keys and any number of servers that
// share a database and a bucket.
type world struct {
	t        *testing.T
	db       *db.DB
	bucket   *blob.Bucket
	kek      keys.KEK
	clock    *clock
	root     *metadata.RootType
	rootKey  crypto.Signer
	targets  crypto.Signer
	device   *device
	commits  sync.Map      // ostree.Checksum that TreeHub has
	log      *slog.Logger  // of servers from now on, nil: none
	maxImage int64         // of servers from now on
	patience time.Duration // of servers from now on, with remote ones
	guard    bool          // servers from now on fetch from public addresses only

	mu     sync.Mutex
	deaf   error             // the audit fails
	signed map[string]string // role and version -> what was signed
	broken func(uptane.Job) error
}

// server is one replica.
type server struct {
	*repo.Repo
	vault *keys.Vault
}

func newWorld(t *testing.T, d *db.DB) (*world, *server) {
	t.Helper()
	w := &world{t: t, db: d, signed: map[string]string{}, maxImage: 10_000,
		clock:   &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
		rootKey: newKey(t), targets: newKey(t)}
	var err error
	if w.bucket, err = diskblob.Open(filepath.Join(t.TempDir(), "blobs")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.bucket.Close() })
	if w.kek, err = keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil); err != nil {
		t.Fatal(err)
	}
	s := w.server()
	w.root = &metadata.Root(w.clock.now().AddDate(1, 0, 0)).Signed
	w.root.Version = 0
	w.root.Keys, w.root.Roles = nil, nil
	w.addKey(uptane.RoleRoot, public(t, w.rootKey))
	w.addKey(uptane.RoleTargets, public(t, w.targets))
	w.newOnlineKey(s, uptane.RoleSnapshot)
	w.newOnlineKey(s, uptane.RoleTimestamp)
	w.putRoot(s)
	if _, err := s.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w.device = &device{w: w}
	return w, s
}

// server starts another replica.
func (w *world) server() *server {
	w.t.Helper()
	vault, err := keys.New(w.t.Context(), keys.Config{DB: w.db, KEK: w.kek, Now: w.clock.now})
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := repo.New(w.t.Context(), repo.Config{
		DB: w.db, Bucket: w.bucket, Signer: watched{w, vault}, Roots: vault, RootVersion: vault.RootVersion,
		RoleKeysSince: vault.RoleKeysSince, PutRoots: vault.PutRoots, RootTwins: vault, RequireRoot: vault.RequireRoot, Complete: w.complete,
		Act: w.audit(vault), Secrets: w.kek, PrivateRemotes: !w.guard, MaxImage: w.maxImage, RemoteTime: w.patience, PartSize: 1000, Now: w.clock.now,
		Log: w.log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return &server{r, vault}
}

// audit is the vault's, until it is to fail.
func (w *world) audit(vault *keys.Vault) func(context.Context, *sqlx.Tx, uptane.Namespace, string, string) error {
	return func(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, action, detail string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return errors.Join(vault.Act(ctx, tx, ns, action, detail), w.deaf)
	}
}

// watched is a vault that fails when told to and tells when one version is
// signed with two contents.
type watched struct {
	w *world
	uptane.Signer
}

func (s watched) Sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	s.w.mu.Lock()
	broken := s.w.broken
	s.w.mu.Unlock()
	if broken != nil {
		if err := broken(job); err != nil {
			return nil, err
		}
	}
	var head struct {
		Type    string `json:"_type"` // spelled as in its flavour
		Version int
	}
	mustDecode(s.w.t, msg, &head)
	name := fmt.Sprintf("%s version %d", head.Type, head.Version)
	s.w.mu.Lock()
	if other, ok := s.w.signed[name]; ok && other != string(msg) {
		s.w.t.Errorf("%s is signed with two contents:\n%s\n%s", name, other, msg)
	}
	s.w.signed[name] = string(msg)
	s.w.mu.Unlock()
	return s.Signer.Sign(ctx, job, msg)
}

// signatures counts the versions that were signed.
func (w *world) signatures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.signed)
}

func (w *world) breakSigner(f func(uptane.Job) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = f
}

var errNoCommit = fault.New(fault.PreconditionFailed, "commit_missing", "the commit is not completely stored")

func (w *world) complete(_ context.Context, n uptane.Namespace, sum ostree.Checksum) error {
	if _, ok := w.commits.Load(sum); !ok || n != ns {
		return errNoCommit.Withf("%s.commit is not stored", sum)
	}
	return nil
}

// commit makes TreeHub have a commit.
func (w *world) commit(subject string) string {
	sum := ostree.Checksum(sha256.Sum256([]byte(subject)))
	w.commits.Store(sum, true)
	return sum.String()
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t *testing.T, s crypto.Signer) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) addKey(role uptane.Role, k uptane.Key) {
	w.t.Helper()
	if err := uptane.AddKey(w.root, role, k); err != nil {
		w.t.Fatal(err)
	}
}

// newOnlineKey makes the vault's new key the only one of a role in the next root.
func (w *world) newOnlineKey(s *server, role uptane.Role) {
	w.t.Helper()
	k, err := s.vault.GenerateOnline(w.t.Context(), ns, uptane.ImageRepository, role, "ed25519")
	if err != nil {
		w.t.Fatal(err)
	}
	if old := w.root.Roles[string(role)]; old != nil {
		ring, err := uptane.RingOf(uptane.Uptane, w.root, role)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, k := range ring.Keys {
			uptane.RemoveKey(w.root, role, k)
		}
	}
	w.addKey(role, k)
}

// putRoot signs the next root offline and pushes it.
func (w *world) putRoot(s *server) {
	w.t.Helper()
	w.root.Version++
	if err := s.PutRoot(w.t.Context(), ns, sign(w.t, uptane.RoleRoot, w.root, w.rootKey)); err != nil {
		w.t.Fatal(err)
	}
}

func sign[T metadata.Roles](t *testing.T, role uptane.Role, payload *T, signers ...crypto.Signer) []byte {
	t.Helper()
	return signAs(t, uptane.Uptane, role, payload, signers...)
}

func signAs[T metadata.Roles](t *testing.T, f uptane.Flavour, role uptane.Role, payload *T, signers ...crypto.Signer) []byte {
	t.Helper()
	b, err := uptane.Payload(f, role, payload)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := f.Message(b)
	if err != nil {
		t.Fatal(err)
	}
	var sigs []uptane.RawSig
	for _, s := range signers {
		sig, err := uptane.Sign(s, msg)
		if err != nil {
			t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	return uptane.Frame(f, b, sigs...)
}

// release is targets metadata in the hands of the people who sign it.
type release struct {
	w        *world
	payload  metadata.TargetsType
	checksum string
}

// pull is what the offline tool does first.
func (w *world) pull(s *server) *release {
	w.t.Helper()
	r := &release{w: w, payload: metadata.Targets(w.clock.now().AddDate(0, 1, 0)).Signed}
	r.payload.Version = 0
	doc, err := s.Metadata(w.t.Context(), ns, "targets.json")
	if err == nil {
		ring := uptane.NewKeyring(1, public(w.t, w.targets))
		d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, doc.Bytes, uptane.RoleTargets, ring, time.Time{})
		if err != nil {
			w.t.Fatal(err)
		}
		r.payload, r.checksum = d.Payload, doc.Checksum
	}
	r.payload.Version++
	return r
}

func (r *release) add(t uptane.Target) *release {
	r.w.t.Helper()
	f, err := t.File()
	if err != nil {
		r.w.t.Fatal(err)
	}
	if r.payload.Targets == nil {
		r.payload.Targets = map[string]*metadata.TargetFiles{}
	}
	r.payload.Targets[t.Filename] = f
	return r
}

func (r *release) signed() []byte {
	r.w.t.Helper()
	return sign(r.w.t, uptane.RoleTargets, &r.payload, r.w.targets)
}

func (r *release) push(s *server) error {
	r.w.t.Helper()
	_, err := s.PutTargets(r.w.t.Context(), ns, r.signed(), r.checksum, "token:1")
	return err
}

func (r *release) mustPush(s *server) {
	r.w.t.Helper()
	if err := r.push(s); err != nil {
		r.w.t.Fatal(err)
	}
}

// ostreeTarget is an image that TreeHub has.
func (w *world) ostreeTarget(name, version string) uptane.Target {
	w.t.Helper()
	sum, err := hex.DecodeString(w.commit(name + version))
	if err != nil {
		w.t.Fatal(err)
	}
	t := w.target(name, version)
	t.Hashes, t.Custom.TargetFormat = metadata.Hashes{"sha256": sum}, uptane.FormatOSTree
	return t
}

// binaryTarget is an image whose bytes are these.
func (w *world) binaryTarget(name, version string, content []byte) uptane.Target {
	sum := sha256.Sum256(content)
	uploaded := true
	t := w.target(name, version)
	t.Length, t.Hashes = int64(len(content)), metadata.Hashes{"sha256": sum[:]}
	t.Custom.TargetFormat, t.Custom.CLIUploaded = uptane.FormatBinary, &uploaded
	return t
}

func (w *world) target(name, version string) uptane.Target {
	at := w.clock.now()
	return uptane.Target{Filename: name + "-" + version, Custom: uptane.Custom{Name: name, Version: version,
		HardwareIDs: []uptane.HardwareID{"ecu-a"}, CreatedAt: at, UpdatedAt: at}}
}

func wantFault(t *testing.T, err error, want *fault.Fault, words ...string) {
	t.Helper()
	f := fault.Of(err)
	if f == nil || f.Code() != want.Code() {
		t.Errorf("got %v, want %s", err, want.Code())
		return
	}
	for _, word := range words {
		if !strings.Contains(f.Cause(), word) {
			t.Errorf("%s says %q, want %q in it", want.Code(), f.Cause(), word)
		}
	}
}
