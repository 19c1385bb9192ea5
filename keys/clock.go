package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/time/rate"

	"sealift/internal/fault"
)

// maxBehind is how far the clock may lie behind the last signature before
// nothing is signed any more: what is signed then would expire too early and,
// where versions come from the clock, repeat.
const maxBehind = 5 * time.Minute

// ErrClockBehind: the clock has gone back; see [Vault.AcceptClock].
var ErrClockBehind = fault.New(fault.Unavailable, "clock_behind",
	"the server's clock is behind the last signature; set it, or run sealift clock accept")

// clock remembers when the last signature was made, by any replica.
type clock struct {
	mu           sync.Mutex
	read         time.Time
	known        bool
	number, last int64
	said         rate.Sometimes
}

// checkClock returns the time for a signature and the number of the clock, how
// often it was accepted. All replicas' signatures count, seen within a second.
func (v *Vault) checkClock(ctx context.Context) (now time.Time, number int64, err error) {
	c := &v.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	now = v.now()
	if age := now.Sub(c.read); !c.known || age < 0 || age >= fresh {
		if c.number, c.last, err = v.store.clockState(ctx); err != nil {
			return now, 0, fmt.Errorf("reading time of last signature: %w", err)
		}
		c.known, c.read = true, now
	}
	if last := time.UnixMilli(c.last).UTC(); now.Before(last.Add(-maxBehind)) {
		c.said.Do(func() {
			v.log.Error("not signing: the clock is behind the last signature; set it, or run sealift clock accept",
				"now", now.UTC(), "last_signature", last)
		})
		return now, 0, ErrClockBehind.Withf("it is %s here, the last signature is of %s",
			now.UTC().Format(time.RFC3339), last.Format(time.RFC3339))
	}
	return now, c.number, nil
}

// signedAt notes a signature of this process.
func (c *clock) signedAt(number int64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number == c.number {
		c.last = max(c.last, at.UnixMilli())
	}
}

// AcceptClock declares that the clock is right although signatures were made
// later: a clock that ran ahead has been set back. Audited, under the empty
// namespace, because it holds for the server as a whole.
func (v *Vault) AcceptClock(ctx context.Context) error {
	number, last, err := v.store.clockState(ctx)
	if err != nil {
		return fmt.Errorf("accepting clock: %w", err)
	}
	now := v.now()
	act, err := v.act(ctx, "", "clock.accept", "accepted %s; the last signature is of %s",
		now.UTC().Format(time.RFC3339), time.UnixMilli(last).UTC().Format(time.RFC3339))
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := v.store.acceptClock(ctx, tx, number+1, now); err != nil {
			return err
		}
		return v.store.addAct(ctx, tx, act)
	})
	if err != nil {
		return fmt.Errorf("accepting clock: %w", err)
	}
	v.clock.mu.Lock()
	defer v.clock.mu.Unlock()
	v.clock.known = false
	return nil
}
