package repo

import (
	"context"
	"time"

	"sealift/uptane"
)

// Reread makes the next reading of a namespace's metadata ask the database.
// Devices may see another replica's push up to a second late; a build job that
// has just pushed must find what it pushed, whichever replica it meets.
func (r *Repo) Reread(ns uptane.Namespace) { r.forget(ns) }

// settle waits until every replica serves what has just become visible: an
// update that is assigned next must not send a device to one that has not.
func (r *Repo) settle(ctx context.Context) {
	if !r.cfg.Replicas {
		return
	}
	wait := time.NewTimer(fresh)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}
