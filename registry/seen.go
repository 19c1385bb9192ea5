package registry

import (
	"context"
	"time"

	"sealift/uptane"
)

// Seen notes that a device was heard of. It only touches memory: the times are
// written together, once a second.
func (r *Registry) Seen(ns uptane.Namespace, device uptane.DeviceID) {
	now := r.now().UnixMilli()
	r.mu.Lock()
	r.seen[deviceKey{ns, device}] = now
	r.mu.Unlock()
}

func (r *Registry) flushLoop(ctx context.Context, every time.Duration) {
	defer close(r.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.flush(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("writing last-seen times failed; they stay in memory until the next try", "error", err)
			}
		}
	}
}

// flush writes what has gathered and puts it back when that fails.
func (r *Registry) flush(ctx context.Context) error {
	r.mu.Lock()
	gathered := r.seen
	r.seen = make(map[deviceKey]int64, len(gathered))
	r.mu.Unlock()
	if len(gathered) == 0 {
		return nil
	}
	err := r.store.setSeen(ctx, r.db, gathered)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, at := range gathered {
		if _, newer := r.seen[k]; !newer {
			r.seen[k] = at
		}
	}
	return err
}
