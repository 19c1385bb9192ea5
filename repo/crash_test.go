package repo_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"sync"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// power is a database that goes away at its n-th step from now, a statement, a
// beginning or an end of a transaction, and stays away until it is restored.
type power struct {
	mu   sync.Mutex
	left int // steps until it fails, -1 never
	used int
}

func (p *power) fail(after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.used = after, 0
}

func (p *power) step() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used++
	if p.left < 0 {
		return nil
	}
	if p.left == 0 {
		return errPower
	}
	p.left--
	return nil
}

type failingConnector struct {
	driver.Connector
	power *power
}

type engineConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

func (c failingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &failingConn{raw.(engineConn), c.power}, nil
}

type failingConn struct {
	engineConn
	power *power
}

func (c *failingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	tx, err := c.engineConn.BeginTx(ctx, o)
	return failingTx{tx, c.power}, err
}

func (c *failingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.PrepareContext(ctx, query)
}

func (c *failingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.ExecContext(ctx, query, args)
}

func (c *failingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.power.step(); err != nil {
		return nil, err
	}
	return c.engineConn.QueryContext(ctx, query, args)
}

func (c *failingConn) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := c.engineConn.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type failingTx struct {
	driver.Tx
	power *power
}

func (t failingTx) Commit() error {
	if err := t.power.step(); err != nil {
		_ = t.Tx.Rollback() // as the engine does when it comes back
		return err
	}
	return t.Tx.Commit()
}

// served is all that clients of both kinds get.
func (w *world) served(s *server) (docs [6]string) {
	w.t.Helper()
	for i, name := range []string{"targets.json", "snapshot.json", "timestamp.json"} {
		doc, err := s.Metadata(w.t.Context(), ns, name)
		if err != nil {
			w.t.Fatal(err)
		}
		docs[i] = string(doc.Bytes)
	}
	timestamp, err := s.TUFMetadata(w.t.Context(), ns, "timestamp.json")
	if err != nil {
		w.t.Fatal(err)
	}
	docs[3] = string(timestamp.Bytes)
	return docs
}

// A crash at every step of a push, one after the other: who asks afterwards gets
// the whole old set, byte for byte, and the same push then goes through.
func TestCrashAtEveryStepOfAPush(t *testing.T) {
	p := &power{left: -1}
	d, err := db.OpenThrough(t.Context(), dbtest.SQLiteURL(t), func(c driver.Connector) driver.Connector { return failingConnector{c, p} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	w, s, c := switchedOn(t, d)
	w.device.mustUpdate(s)
	c.mustSee(s, 1)
	crashes := 0
	for n := 0; ; n++ {
		before := w.served(s)
		r := w.pull(s)
		clear(r.payload.Targets) // each release replaces the last, so that none is slower
		r.add(w.ostreeTarget("brakes", string(rune('a'+n/26))+string(rune('a'+n%26))))
		if err := r.twin(s); err != nil {
			t.Fatal(err)
		}
		doc := r.signed()
		p.fail(n)
		_, err := s.PutTargets(t.Context(), ns, doc, r.checksum, "a")
		p.fail(-1)
		if err == nil {
			break
		}
		if !errors.Is(err, errPower) {
			t.Fatalf("step %d: %v", n, err)
		}
		crashes++
		next := w.server()
		if after := w.served(next); after != before {
			t.Fatalf("after a crash at step %d another set is served:\n%q\n%q", n, after, before)
		}
		if _, err := next.PutTargets(t.Context(), ns, doc, r.checksum, "a"); err != nil {
			t.Fatalf("the push that broke off at step %d: %v", n, err)
		}
		w.device.mustUpdate(next)
		c.mustSee(next, r.payload.Version)
		s = next
	}
	if crashes < 30 {
		t.Errorf("a push has only %d steps", crashes)
	}
	w.device.mustUpdate(s)
	c.mustSee(s, w.device.targets.Version)
}

// A threshold of three, of which two sign: nothing is published, neither of
// targets nor of a root; the third signature publishes it.
func TestTwoOfThreeSignaturesPublishNothing(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	keys := []crypto.Signer{w.targets, newKey(t), newKey(t)}
	roots := []crypto.Signer{w.rootKey, newKey(t), newKey(t)}
	for i := 1; i < 3; i++ {
		w.addKey(uptane.RoleTargets, public(t, keys[i]))
		w.addKey(uptane.RoleRoot, public(t, roots[i]))
	}
	w.root.Roles["targets"].Threshold, w.root.Roles["root"].Threshold = 3, 3
	w.root.Version++
	if err := s.PutRoot(t.Context(), ns, sign(t, uptane.RoleRoot, w.root, roots[:2]...)); err == nil {
		t.Error("a root with two of three signatures is published")
	}
	if _, err := s.Metadata(t.Context(), ns, "2.root.json"); err == nil {
		t.Error("it is visible")
	}
	doc, err := s.Metadata(t.Context(), ns, "targets.json")
	if err != nil {
		t.Fatal(err)
	}
	r := w.pull(s)
	both := sign(t, uptane.RoleTargets, &r.payload, keys...) // also what clients of the last root read
	if _, err := s.PutTargets(t.Context(), ns, both, doc.Checksum, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutRoot(t.Context(), ns, sign(t, uptane.RoleRoot, w.root, roots...)); err != nil {
		t.Fatal(err)
	}
	w.device.mustUpdate(s)
	before := w.device.targets.Version
	next := metadata.TargetsType(r.payload)
	next.Version++
	for _, n := range []int{0, 1, 2} {
		_, err := s.PutTargets(t.Context(), ns, sign(t, uptane.RoleTargets, &next, keys[:n]...), checksumOf(both), "a")
		wantFault(t, err, repo.ErrInvalidTargets)
	}
	w.device.mustUpdate(s)
	if w.device.targets.Version != before {
		t.Errorf("version %d is visible", w.device.targets.Version)
	}
	if _, err := s.PutTargets(t.Context(), ns, sign(t, uptane.RoleTargets, &next, keys...), checksumOf(both), "a"); err != nil {
		t.Fatal(err)
	}
	w.device.mustUpdate(s)
	if w.device.targets.Version != before+1 {
		t.Errorf("version %d is visible", w.device.targets.Version)
	}
}

func checksumOf(doc []byte) string {
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:])
}

// A root that replaces the key of targets before they are signed with it is taken,
// because a stolen key must go at once, and it is told that no device can update.
func TestRootBeforeItsTargets(t *testing.T) {
	w, s := newWorld(t, dbtest.SQLite(t))
	w.pull(s).mustPush(s)
	if err := s.RequireTrusted(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	uptane.RemoveKey(w.root, uptane.RoleTargets, public(t, w.targets))
	r := w.pull(s)
	w.targets = newKey(t)
	w.addKey(uptane.RoleTargets, public(t, w.targets))
	w.putRoot(s)
	wantFault(t, s.RequireTrusted(t.Context(), ns), repo.ErrTargetsUntrusted, "version 2")
	if err := w.device.update(s); err == nil {
		t.Error("the device takes targets of a key that was replaced")
	}
	r.mustPush(s)
	w.device.mustUpdate(s)
	if err := s.RequireTrusted(t.Context(), ns); err != nil {
		t.Error(err)
	}
}
