package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"software.sslmate.com/src/go-pkcs12"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/keys"
	"sealift/keys/pki"
	"sealift/uptane"
)

const ns = uptane.Namespace("default")

// rig is a server's vault with a clock and a log that a test can hold.
type rig struct {
	*keys.Vault
	t     *testing.T
	db    *db.DB
	kek   keys.KEK
	clock *testClock
	log   *journal
	enrol func(context.Context, uptane.Namespace, uptane.OEMID) (uptane.DeviceID, error)
}

func newRig(t *testing.T, d *db.DB) *rig {
	t.Helper()
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, db: d, kek: kek, log: newJournal(),
		clock: &testClock{at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)},
		enrol: func(_ context.Context, _ uptane.Namespace, o uptane.OEMID) (uptane.DeviceID, error) {
			return uptane.DeviceID("id-of-" + o), nil
		}}
	r.Vault = r.replica()
	return r
}

// replica opens another vault on the same database.
func (r *rig) replica() *keys.Vault {
	r.t.Helper()
	v, err := keys.New(r.t.Context(), keys.Config{DB: r.db, KEK: r.kek, Now: r.clock.now,
		Log:   slog.New(slog.NewTextHandler(r.log, nil)),
		Enrol: r.enrol, Actor: func(context.Context) string { return "token:alice" }})
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// seal takes what was signed into the record.
func (r *rig) seal() {
	r.t.Helper()
	if sealed, err := r.Record().Seal(r.t.Context()); err != nil || !sealed {
		r.t.Fatalf("sealing the record: %t, %v", sealed, err)
	}
}

func (r *rig) count(query string, args ...any) int {
	r.t.Helper()
	var n int
	if err := r.db.GetContext(r.t.Context(), &n, query, args...); err != nil {
		r.t.Fatal(err)
	}
	return n
}

type testClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// journal is a log that may be read while it is written.
type journal struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	wrote sync.Cond
}

func newJournal() *journal {
	j := &journal{}
	j.wrote.L = &j.mu
	return j
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.wrote.Broadcast()
	return j.buf.Write(p)
}

// await returns when the log has each text, or the test after ten seconds.
func (j *journal) await(t *testing.T, texts ...string) {
	t.Helper()
	late := false
	timer := time.AfterFunc(10*time.Second, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		late = true
		j.wrote.Broadcast()
	})
	defer timer.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, text := range texts {
		for !bytes.Contains(j.buf.Bytes(), []byte(text)) {
			if late {
				t.Fatalf("the log does not say %q:\n%s", text, j.buf.String())
			}
			j.wrote.Wait()
		}
	}
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// offline is a person's private key.
type offline struct {
	crypto.Signer
	key uptane.Key
}

func newOffline(t *testing.T) offline {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := uptane.NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return offline{private, key}
}

// ceremony is a root being prepared.
type ceremony struct {
	t    *testing.T
	root *metadata.RootType
}

func newCeremony(t *testing.T, expires time.Time) *ceremony {
	root := metadata.Root(expires).Signed
	root.Roles = map[string]*metadata.Role{}
	return &ceremony{t, &root}
}

func (c *ceremony) add(role uptane.Role, list ...uptane.Key) *ceremony {
	c.t.Helper()
	for _, k := range list {
		if err := uptane.AddKey(c.root, role, k); err != nil {
			c.t.Fatal(err)
		}
	}
	return c
}

func (c *ceremony) next() *ceremony {
	c.root.Version++
	return c
}

func (c *ceremony) sign(f uptane.Flavour, signers ...offline) []byte {
	c.t.Helper()
	payload, err := uptane.Payload(f, uptane.RoleRoot, c.root)
	if err != nil {
		c.t.Fatal(err)
	}
	msg, err := f.Message(payload)
	if err != nil {
		c.t.Fatal(err)
	}
	var sigs []uptane.RawSig
	for _, s := range signers {
		sig, err := uptane.Sign(s.Signer, msg)
		if err != nil {
			c.t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	return uptane.Frame(f, payload, sigs...)
}

// online makes an online key for a role.
func (r *rig) online(repo uptane.Repository, role uptane.Role) uptane.Key {
	r.t.Helper()
	k, err := r.GenerateOnline(r.t.Context(), ns, repo, role, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// director prepares a first Director root whose keys are all in order.
func (r *rig) director() (*ceremony, offline) {
	root := newOffline(r.t)
	c := newCeremony(r.t, r.clock.now().AddDate(1, 0, 0)).add(uptane.RoleRoot, root.key)
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		c.add(role, r.online(uptane.DirectorRepository, role))
	}
	return c, root
}

// image prepares a first root of the Image repository.
func (r *rig) image() (c *ceremony, root, targets offline) {
	root, targets = newOffline(r.t), newOffline(r.t)
	c = newCeremony(r.t, r.clock.now().AddDate(1, 0, 0)).add(uptane.RoleRoot, root.key).add(uptane.RoleTargets, targets.key)
	for _, role := range []uptane.Role{uptane.RoleSnapshot, uptane.RoleTimestamp} {
		c.add(role, r.online(uptane.ImageRepository, role))
	}
	return c, root, targets
}

func (r *rig) put(repo uptane.Repository, doc []byte) {
	r.t.Helper()
	if err := r.PutRoot(r.t.Context(), ns, repo, doc); err != nil {
		r.t.Fatal(err)
	}
}

// authorities imports a server CA and the device CA of the namespace and
// returns the offline roots.
func (r *rig) authorities() (server, device pki.Authority) {
	r.t.Helper()
	now := r.clock.now()
	server = must(pki.NewServerRoot(now, "Server root"))(r.t)
	next := must(pki.NewServerRoot(now, "Next server root"))(r.t)
	device = must(pki.NewDeviceRoot(now, "Device root"))(r.t)
	tree := keys.ServerTree{Root: server.Cert, Next: next.Cert, Issuer: must(pki.NewServerIntermediate(now, "Server CA", server))(r.t)}
	if err := r.ImportServerTree(r.t.Context(), tree); err != nil {
		r.t.Fatal(err)
	}
	if err := r.ImportDeviceTree(r.t.Context(), ns, device.Cert, must(pki.NewDeviceIntermediate(now, "Device CA", device))(r.t)); err != nil {
		r.t.Fatal(err)
	}
	return server, device
}

func (r *rig) bootstrap(req keys.BootstrapRequest) keys.Bootstrap {
	r.t.Helper()
	req.Namespace = ns
	_, b, err := r.IssueBootstrap(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// provision asks for a device certificate as the gateway does.
func (r *rig) provision(oemid uptane.OEMID, bootstrap string) (*x509.Certificate, error) {
	p12, err := r.IssueDevice(r.t.Context(), keys.IssueRequest{Namespace: ns, OEMID: oemid,
		Device: uptane.DeviceID("id-of-" + oemid), TTL: 36000, Bootstrap: bootstrap})
	if err != nil {
		return nil, err
	}
	_, leaf, _, err := pkcs12.DecodeChain(p12, "")
	return leaf, err
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantCode fails unless err is the fault with that code, "" meaning no error.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	got := ""
	if f := fault.Of(err); f != nil {
		got = f.Code()
	} else if err != nil {
		got = "no fault"
	}
	if got != code {
		t.Errorf("got %q (%v), want %q", got, err, code)
	}
}
