package director_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// stored is an Image repository that is in the database, too.
type stored struct {
	images
	db *db.DB
}

func (s stored) Target(ctx context.Context, n uptane.Namespace, filename string) (uptane.Target, error) {
	var one int
	if err := s.db.GetContext(ctx, &one, `SELECT 1`); err != nil {
		return uptane.Target{}, err
	}
	return s.images.Target(ctx, n, filename)
}

// More devices that have something to install register anew at once than the
// database has connections: none waits for one that another has who waits for it.
func TestMoreRegistrationsThanConnections(t *testing.T) {
	f := newFleet(t, dbtest.Postgres(t))
	f.images.add("own", 5, "hw-s")
	var fleet []*device
	for i := range 40 {
		fleet = append(fleet, f.device(fmt.Sprint("car-", i), "hw-p", "hw-s"))
	}
	f.assign(map[uptane.HardwareID]string{"hw-s": "own"}, fleet...)
	d, err := director.New(t.Context(), director.Config{DB: f.db, Signer: f.keys, Roots: f.keys, Keys: f.keys,
		Images: stored{f.images, f.db}, Journal: f.journal, Now: f.clock.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, v := range fleet {
		all.Go(func() {
			if _, err := d.RegisterECUs(ctx, ns, v.id, v.oemid, v.registration()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, v := range fleet {
		if open := f.open(v); len(open) != 1 {
			t.Errorf("%s is to install %q", v.id, open)
		}
	}
}
