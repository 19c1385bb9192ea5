package repo_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/repo"
	"sealift/uptane"
)

// tufClient is go-tuf's own judgement of what TUF clients are served, with a
// memory like theirs.
type tufClient struct {
	w     *world
	roots [][]byte // the chain it has walked
	seen  struct{ timestamp, snapshot, targets int64 }
}

// refresh walks through all metadata as TUF's client workflow says and returns
// the targets.
func (c *tufClient) refresh(s *server) (*metadata.TargetsType, error) {
	ctx := c.w.t.Context()
	for {
		doc, err := s.TUFMetadata(ctx, ns, fmt.Sprintf("%d.root.json", len(c.roots)+1))
		if fault.Status(err) == 404 && len(c.roots) > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		c.roots = append(c.roots, doc.Bytes)
	}
	trusted, err := trustedmetadata.New(c.roots[0])
	if err != nil {
		return nil, err
	}
	trusted.RefTime = c.w.clock.now()
	for _, root := range c.roots[1:] {
		if _, err := trusted.UpdateRoot(root); err != nil {
			return nil, err
		}
	}
	doc, err := s.TUFMetadata(ctx, ns, "timestamp.json")
	if err != nil {
		return nil, err
	}
	timestamp, err := trusted.UpdateTimestamp(doc.Bytes)
	if err != nil {
		return nil, err
	}
	if doc, err = s.TUFMetadata(ctx, ns, fmt.Sprintf("%d.snapshot.json", timestamp.Signed.Meta["snapshot.json"].Version)); err != nil {
		return nil, err
	}
	snapshot, err := trusted.UpdateSnapshot(doc.Bytes, false)
	if err != nil {
		return nil, err
	}
	if doc, err = s.TUFMetadata(ctx, ns, fmt.Sprintf("%d.targets.json", snapshot.Signed.Meta["targets.json"].Version)); err != nil {
		return nil, err
	}
	targets, err := trusted.UpdateTargets(doc.Bytes)
	if err != nil {
		return nil, err
	}
	now := [3]int64{timestamp.Signed.Version, snapshot.Signed.Version, targets.Signed.Version}
	if now[0] < c.seen.timestamp || now[1] < c.seen.snapshot || now[2] < c.seen.targets {
		return nil, fmt.Errorf("rolled back to %v from %+v", now, c.seen)
	}
	c.seen.timestamp, c.seen.snapshot, c.seen.targets = now[0], now[1], now[2]
	return &targets.Signed, nil
}

func (c *tufClient) mustSee(s *server, version int64) *metadata.TargetsType {
	c.w.t.Helper()
	targets, err := c.refresh(s)
	if err != nil {
		c.w.t.Fatal(err)
	}
	if targets.Version != version {
		c.w.t.Errorf("TUF clients see version %d, want %d", targets.Version, version)
	}
	return targets
}

// rootTwin stages the TUF document of the current root: late.
func (w *world) rootTwin(s *server) error {
	w.t.Helper()
	return s.StageTwin(w.t.Context(), ns, uptane.RoleRoot, signAs(w.t, uptane.TUF, uptane.RoleRoot, w.root, w.rootKey))
}

// twin stages the TUF document of a release.
func (r *release) twin(s *server) error {
	r.w.t.Helper()
	public, err := uptane.PublicTargets(&r.payload)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return s.StageTwin(r.w.t.Context(), ns, uptane.RoleTargets, signAs(r.w.t, uptane.TUF, uptane.RoleTargets, public, r.w.targets))
}

func (r *release) mustPushBoth(s *server) {
	r.w.t.Helper()
	if err := errors.Join(r.twin(s), r.push(s)); err != nil {
		r.w.t.Fatal(err)
	}
}

// switchedOn is a world whose first root and targets are there for TUF, too.
func switchedOn(t *testing.T, d *db.DB) (*world, *server, *tufClient) {
	t.Helper()
	w, s := newWorld(t, d)
	if err := w.rootTwin(s); err != nil {
		t.Fatal(err)
	}
	w.pull(s).mustPushBoth(s)
	if err := s.SetTUF(t.Context(), ns, true, false); err != nil {
		t.Fatal(err)
	}
	return w, s, &tufClient{w: w}
}

func state(t *testing.T, s *server) repo.TUF {
	t.Helper()
	st, err := s.TUF(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
