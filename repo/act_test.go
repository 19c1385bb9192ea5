package repo_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/repo"
)

// Who does something is in the audit with what he does, or nothing is done: a
// disk that fails in between hides nobody.
func TestActsAreDoneWithTheirEntry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, there := w.supplier("brakes"), newElsewhere(t)
		before := w.pull(s).delegate(brakes, false, "brakes/*")
		before.mustPush(s)
		brakes.payload.Version = 1
		there.doc = brakes.signed()
		ctx, until := t.Context(), w.clock.now().AddDate(0, 3, 0)
		next := w.pull(s).add(w.ostreeTarget("app", "1"))
		doc, tuf := next.proposal()
		for _, c := range []struct {
			name string
			do   func() error
			done func() bool
		}{
			{"delegation.publish", func() error { brakes.payload.Version = 0; return brakes.push(s) }, func() bool {
				role, err := s.Role(ctx, ns, "brakes")
				return err == nil && role.Version == 1
			}},
			{"delegation.name", func() error { return s.NameRole(ctx, ns, "brakes", "Brakes Ltd") }, func() bool {
				role, err := s.Role(ctx, ns, "brakes")
				return err == nil && role.Remote.FriendlyName == "Brakes Ltd"
			}},
			{"remote.set", func() error {
				return s.SetRemote(ctx, ns, "brakes", there.URL+"/brakes.json?token=hush", nil, "", "me")
			}, func() bool {
				role, err := s.Role(ctx, ns, "brakes")
				return err == nil && role.Remote.URI != ""
			}},
			{"policy.set", func() error { return s.SetPolicy(ctx, ns, repo.Policy{MinTargetsLife: time.Hour}) }, func() bool {
				p, err := s.Policy(ctx, ns)
				return err == nil && p.MinTargetsLife == time.Hour
			}},
			{"tuf.switch", func() error { return s.SetTUF(ctx, ns, false, false) }, nil},
			{"not-before.set", func() error { return s.SetNotBefore(ctx, ns, until) }, func() bool {
				e, err := s.Endings(ctx, ns)
				return err == nil && e[1].Ends.Equal(until)
			}},
			{"targets.propose", func() error { _, err := s.PutWaiting(ctx, ns, doc, tuf, next.checksum, "", "me"); return err }, func() bool {
				_, err := s.Waiting(ctx, ns)
				return err == nil
			}},
			{"targets.withdraw", func() error {
				w, err := s.Waiting(ctx, ns)
				if err != nil {
					return err
				}
				return s.DropWaiting(ctx, ns, w.ID, "me")
			}, func() bool {
				_, err := s.Waiting(ctx, ns)
				return errors.Is(err, repo.ErrNotWaiting)
			}},
			{"targets.publish", func() error { return next.push(s) }, func() bool { return visible(t, s) == 2 }},
			{"target.note", func() error { return s.SetComment(ctx, ns, "app-1", "good", "me") }, func() bool {
				text, err := s.Comment(ctx, ns, "app-1")
				return err == nil && text == "good"
			}},
		} {
			w.deaf = errors.New("the disk is full")
			if err := c.do(); !errors.Is(err, w.deaf) {
				t.Errorf("%s is done without an entry: %v", c.name, err)
			}
			if c.done != nil && c.done() {
				t.Errorf("%s failed, and is done", c.name)
			}
			w.deaf = nil
			if err := c.do(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if c.done != nil && !c.done() {
				t.Errorf("%s succeeded, and is not done", c.name)
			}
			acts, err := s.vault.Acts(ctx, ns, "", 5)
			if err != nil || !slices.ContainsFunc(acts, func(a keys.Act) bool { return a.Action == c.name }) {
				t.Errorf("%s is not in the audit: %+v, %v", c.name, acts, err)
			}
			for _, a := range acts {
				if strings.Contains(a.Detail, "hush") {
					t.Errorf("the audit tells a password: %s", a.Detail)
				}
			}
		}
	})
}
