package repo_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"sealift/internal/db/dbtest"
)

// More people sign at once than the database has connections: none waits for one
// that another has who waits for it.
func TestMoreCosignersThanConnections(t *testing.T) {
	w, s := newWorld(t, dbtest.Postgres(t))
	w.pull(s).mustPush(s)
	twoSigners(t, w, s)
	r := w.pull(s).add(w.ostreeTarget("app", "1"))
	doc, tuf := r.proposal()
	got, err := s.PutWaiting(t.Context(), ns, doc, tuf, r.checksum, "", "token:ci")
	if err != nil {
		t.Fatal(err)
	}
	doc, tuf = r.proposal(w.targets)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			w.clock.advance(2 * time.Second) // what is remembered of the root is old
			if _, err := s.Cosign(ctx, ns, got.ID, signatures(t, doc), signatures(t, tuf), "token:person"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
