package access_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

// Many replicas see that something ends; one of them tells, once for each step and
// once more when it ends at another time.
func TestOneReplicaTells(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		one, c := open(t, d)
		two, _ := open(t, d)
		ends := c.Now().Add(20 * 24 * time.Hour)
		tell := func(ends time.Time, days int) int64 {
			var told atomic.Int64
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					a := one
					if i%2 == 1 {
						a = two
					}
					first, err := a.Notify(t.Context(), "default", "image/targets", ends, days)
					if err != nil {
						t.Error(err)
					}
					if first {
						told.Add(1)
					}
				})
			}
			all.Wait()
			return told.Load()
		}
		if a, b := tell(ends, 30), tell(ends, 30); a != 1 || b != 0 {
			t.Errorf("told %d and %d times", a, b)
		}
		if n := tell(ends, 14); n != 1 {
			t.Errorf("the next step was told %d times", n)
		}
		if n := tell(ends.Add(time.Hour), 30); n != 1 {
			t.Errorf("a new end was told %d times", n)
		}
		again, _ := open(t, d)
		if first, err := again.Notify(t.Context(), "default", "image/targets", ends, 30); err != nil || first {
			t.Errorf("after a restart: %v, %v", first, err)
		}
		if first, err := one.Notify(t.Context(), "other", "image/targets", ends, 30); err != nil || !first {
			t.Errorf("another namespace is not told: %v", err)
		}
		list, err := one.Notices(t.Context(), "default", ends)
		if err != nil || len(list) != 3 {
			t.Errorf("notices: %+v, %v", list, err)
		}
		if list, err := one.Notices(t.Context(), "default", ends.Add(time.Minute)); err != nil || len(list) != 1 || list[0].Days != 30 {
			t.Errorf("notices of what ends later: %+v, %v", list, err)
		}
	})
}
