package repo_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// twoSigners makes a second targets key and demands both.
func twoSigners(t *testing.T, w *world, s *server) crypto.Signer {
	t.Helper()
	second := newKey(t)
	w.addKey(uptane.RoleTargets, public(t, second))
	w.root.Roles["targets"].Threshold = 2
	w.putRoot(s)
	return second
}

// proposal is the documents of a release, signed by some.
func (r *release) proposal(signers ...crypto.Signer) (doc, tuf []byte) {
	r.w.t.Helper()
	p, err := uptane.PublicTargets(&r.payload)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return sign(r.w.t, uptane.RoleTargets, &r.payload, signers...), signAs(r.w.t, uptane.TUF, uptane.RoleTargets, p, signers...)
}

// signatures is the list in a document.
func signatures(t *testing.T, doc []byte) []byte {
	t.Helper()
	var d struct{ Signatures json.RawMessage }
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	return d.Signatures
}

func visible(t *testing.T, s *server) int {
	t.Helper()
	doc, err := s.Metadata(t.Context(), ns, "targets.json")
	if errors.Is(err, repo.ErrRoleMissing) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var d struct{ Signed struct{ Version int } }
	if err := json.Unmarshal(doc.Bytes, &d); err != nil {
		t.Fatal(err)
	}
	return d.Signed.Version
}

// A build proposes, two people sign at different times and at different replicas;
// nothing is visible before the second has.
func TestTargetsThatTwoMustSign(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		second := twoSigners(t, w, s)
		other := w.server()
		r := w.pull(s).add(w.ostreeTarget("app", "1"))
		doc, tuf := r.proposal()
		got, err := s.PutWaiting(t.Context(), ns, doc, tuf, r.checksum, "", "token:ci")
		if err != nil || got.Published != "" || len(got.SignedBy) != 0 || got.Threshold != 2 || len(got.KeyIDs) != 2 || got.CreatedBy != "token:ci" {
			t.Fatalf("%+v, %v", got, err)
		}
		for i, key := range []crypto.Signer{w.targets, second} {
			if v := visible(t, other); v != 1 {
				t.Fatalf("version %d is visible after %d signatures", v, i)
			}
			waits, err := other.Waiting(t.Context(), ns)
			if err != nil || waits.ID != got.ID || len(waits.SignedBy) != i || waits.Base != r.checksum {
				t.Fatalf("waiting %+v, %v", waits, err)
			}
			doc, tuf := r.proposal(key)
			if got, err = other.Cosign(t.Context(), ns, got.ID, signatures(t, doc), signatures(t, tuf), "token:person"); err != nil {
				t.Fatal(err)
			}
			if again, err := s.Cosign(t.Context(), ns, got.ID, signatures(t, doc), nil, "token:person"); i == 0 && (err != nil || len(again.SignedBy) != 1) {
				t.Fatalf("the same signature again: %+v, %v", again, err)
			}
		}
		if v := visible(t, other); v != 2 || got.Published == "" {
			t.Errorf("version %d is visible, published %q", v, got.Published)
		}
		_, err = s.Waiting(t.Context(), ns)
		wantFault(t, err, repo.ErrNotWaiting)
		if state, err := s.TUF(t.Context(), ns); err != nil || state.TUFTargets != 2 {
			t.Errorf("TUF: %+v, %v", state, err)
		}
	})
}

func TestProposalsThatAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		second := twoSigners(t, w, s)
		put := func(r *release, waiting string, signers ...crypto.Signer) (repo.Waiting, error) {
			doc, tuf := r.proposal(signers...)
			return s.PutWaiting(t.Context(), ns, doc, tuf, r.checksum, waiting, "token:ci")
		}
		r := w.pull(s).add(w.ostreeTarget("app", "1"))
		_, err := put(r, "", newKey(t))
		wantFault(t, err, repo.ErrInvalidTargets, "0 of the 1")
		later := w.pull(s)
		later.payload.Version++
		_, err = put(later, "")
		wantFault(t, err, repo.ErrVersionBump)
		_, err = put(w.pull(s).add(w.binaryTarget("never", "sent", []byte("x"))), "")
		wantFault(t, err, repo.ErrInvalidTargets, "never uploaded")
		ended := w.pull(s)
		ended.payload.Expires = w.clock.now().Add(-time.Hour)
		_, err = put(ended, "")
		wantFault(t, err, repo.ErrInvalidTargets, "expired")
		stale := w.pull(s)
		stale.checksum = ""
		_, err = put(stale, "")
		wantFault(t, err, repo.ErrNoChecksum)
		doc, _ := r.proposal()
		_, otherTUF := later.proposal()
		_, err = s.PutWaiting(t.Context(), ns, doc, otherTUF, r.checksum, "", "token:ci")
		wantFault(t, err, repo.ErrInvalid, "flavours differ")

		first, err := put(r, "", w.targets)
		if err != nil {
			t.Fatal(err)
		}
		next := w.pull(s).add(w.ostreeTarget("app", "2"))
		_, err = put(next, "") // somebody else's would be lost
		wantFault(t, err, repo.ErrWaitingChanged)
		replaced, err := put(next, first.ID)
		if err != nil || len(replaced.SignedBy) != 0 {
			t.Fatalf("%+v, %v", replaced, err)
		}
		// Who looked at the first does not sign the second.
		doc, tuf := r.proposal(second)
		_, err = s.Cosign(t.Context(), ns, first.ID, signatures(t, doc), signatures(t, tuf), "token:person")
		wantFault(t, err, repo.ErrWaitingChanged)
		_, err = s.Cosign(t.Context(), ns, replaced.ID, signatures(t, doc), nil, "token:person")
		wantFault(t, err, repo.ErrInvalidTargets)
		_, err = s.Cosign(t.Context(), ns, replaced.ID, []byte("{}"), nil, "token:person")
		wantFault(t, err, repo.ErrInvalid)
		wantFault(t, s.DropWaiting(t.Context(), ns, first.ID, "token:person"), repo.ErrWaitingChanged)

		// Targets that were pushed meanwhile end the waiting.
		pushed := w.pull(s).add(w.ostreeTarget("app", "3"))
		doc, _ = pushed.proposal(w.targets, second)
		if _, err := s.PutTargets(t.Context(), ns, doc, pushed.checksum, "token:person"); err != nil {
			t.Fatal(err)
		}
		_, err = s.Waiting(t.Context(), ns)
		wantFault(t, err, repo.ErrNotWaiting)
		_, err = put(next, "")
		wantFault(t, err, repo.ErrChecksum)
		_, err = s.Waiting(t.Context(), "another")
		wantFault(t, err, repo.ErrNoRepository)
		last, err := put(w.pull(s).add(w.ostreeTarget("app", "4")), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DropWaiting(t.Context(), ns, last.ID, "token:person"); err != nil {
			t.Fatal(err)
		}
		wantFault(t, s.DropWaiting(t.Context(), ns, last.ID, "token:person"), repo.ErrNotWaiting)
	})
}

// All signatures are there and snapshot cannot be signed: nothing is visible, and
// nothing is lost.
func TestPublishingWhatWaitedBreaksOff(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		second := twoSigners(t, w, s)
		r := w.pull(s).add(w.ostreeTarget("app", "1"))
		doc, tuf := r.proposal(w.targets)
		got, err := s.PutWaiting(t.Context(), ns, doc, tuf, r.checksum, "", "token:ci")
		if err != nil {
			t.Fatal(err)
		}
		w.breakSigner(func(uptane.Job) error { return errors.New("no power") })
		doc, tuf = r.proposal(second)
		if _, err := s.Cosign(t.Context(), ns, got.ID, signatures(t, doc), signatures(t, tuf), "token:person"); err == nil {
			t.Fatal("it was published without a snapshot")
		}
		w.breakSigner(nil)
		if v := visible(t, s); v != 1 {
			t.Fatalf("version %d is visible", v)
		}
		got, err = s.Cosign(t.Context(), ns, got.ID, signatures(t, doc), signatures(t, tuf), "token:person")
		if err != nil || got.Published == "" || visible(t, s) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// One person gives proposed targets up while the last signature comes at another
// replica: they are published or given up, never both.
func TestTheLastSignatureMeetsGivingUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		w.pull(s).mustPush(s)
		other := w.server()
		for i := range 8 {
			w.clock.advance(2 * time.Second)
			before := visible(t, s)
			r := w.pull(s)
			doc, tuf := r.proposal()
			waits, err := s.PutWaiting(t.Context(), ns, doc, tuf, r.checksum, "", "token:ci")
			if err != nil {
				t.Fatal(err)
			}
			signed, signedTUF := r.proposal(w.targets)
			var published, withdrawn error
			var all sync.WaitGroup
			all.Go(func() {
				_, published = s.Cosign(t.Context(), ns, waits.ID, signatures(t, signed), signatures(t, signedTUF), "me")
			})
			all.Go(func() {
				for range 3 * i { // sooner and later
					_, _ = other.Waiting(t.Context(), ns)
				}
				withdrawn = other.DropWaiting(t.Context(), ns, waits.ID, "you")
			})
			all.Wait()
			w.clock.advance(2 * time.Second)
			if after := visible(t, other); (published == nil) == (withdrawn == nil) || (published == nil) != (after == before+1) {
				t.Fatalf("round %d: publishing: %v; giving up: %v; version %d became %d", i, published, withdrawn, before, after)
			}
		}
	})
}
