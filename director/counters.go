package director

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sealift/uptane"
)

// flushEvery is how long a counter is held in memory at most, and flushBatch
// how many devices one transaction writes.
const (
	flushEvery   = time.Second
	flushTimeout = 30 * time.Second
	flushBatch   = 500
)

type deviceKey struct {
	ns     uptane.Namespace
	device uptane.DeviceID
}

// sighting is an accepted manifest that changed nothing.
type sighting struct {
	deviceKey
	registration int64 // of the device when it was accepted
	counter      int64
	digest       string
	at           int64
}

// counters gathers sightings and writes them together, once a second. An
// idle server has no timer running. Safe for concurrent use.
type counters struct {
	store store
	log   *slog.Logger

	mu      sync.Mutex
	pending map[deviceKey]sighting
	timer   *time.Timer
}

// add notes a sighting; the latest of a device is kept.
func (c *counters) add(s sighting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.pending[s.deviceKey]; ok && old.registration == s.registration && old.counter > s.counter {
		return
	}
	c.pending[s.deviceKey] = s
	if c.timer == nil {
		c.timer = time.AfterFunc(flushEvery, c.tick)
	}
}

// overlay brings a row read from the database up to what was gathered since.
func (c *counters) overlay(ns uptane.Namespace, row *deviceRow) {
	c.mu.Lock()
	s, ok := c.pending[deviceKey{ns, row.Device}]
	c.mu.Unlock()
	if ok && s.registration == row.Registration && s.counter >= row.Counter && s.at >= row.ManifestAt {
		row.Counter, row.Manifest, row.ManifestAt = s.counter, s.digest, s.at
	}
}

func (c *counters) tick() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := c.flush(ctx); err != nil {
		c.log.Error("writing report counters", "error", err)
	}
}

// flush writes what is pending. What could not be written stays.
func (c *counters) flush(ctx context.Context) error {
	c.mu.Lock()
	batch := make([]sighting, 0, len(c.pending))
	for _, s := range c.pending {
		batch = append(batch, s)
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.mu.Unlock()
	slices.SortFunc(batch, func(a, b sighting) int { // replicas lock rows in one order
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.device, b.device))
	})
	for part := range slices.Chunk(batch, flushBatch) {
		if err := c.store.saveSightings(ctx, part); err != nil {
			c.retryLater()
			return fmt.Errorf("writing report counters: %w", err)
		}
		c.forget(part)
	}
	return nil
}

// forget drops what was written, unless a newer sighting took its place.
func (c *counters) forget(written []sighting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range written {
		if c.pending[s.deviceKey] == s {
			delete(c.pending, s.deviceKey)
		}
	}
}

func (c *counters) retryLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(flushEvery, c.tick)
	}
}
