package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"sealift/internal/hub"
	"sealift/treehub/ostree"
)

// walk fetches a tree of objects into a folder, verifying each.
type walk struct {
	hub  *hub.Hub
	dir  *ostree.Dir
	out  *screen
	jobs int

	mu    sync.Mutex
	seen  map[ostree.ObjectName]bool
	bytes int64
}

// run goes down from root, one generation of objects after the other. It names
// every object that is missing or broken before it fails.
func (w *walk) run(ctx context.Context, root ostree.ObjectName) error {
	w.seen[root] = true
	bad := 0
	for level := []ostree.ObjectName{root}; len(level) > 0; {
		var next []ostree.ObjectName
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(w.jobs)
		for _, name := range level {
			group.Go(func() error {
				res, err := w.fetch(groupCtx, name)
				var rule *ostree.RuleError
				w.mu.Lock()
				defer w.mu.Unlock()
				switch {
				case errors.Is(err, ostree.ErrNotFound), errors.As(err, &rule):
					bad++
					w.out.say(levelError, "Object %s: %v", name, err)
					return nil
				case err != nil:
					return err
				}
				w.bytes += res.Size
				for _, edge := range res.Edges {
					if !w.seen[edge] {
						w.seen[edge] = true
						next = append(next, edge)
					}
				}
				w.out.show(false, "fetched %d objects, %s", len(w.seen)-len(next), size(w.bytes))
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		level = next
	}
	w.out.show(true, "")
	if bad > 0 {
		return fmt.Errorf("%d objects below %s are missing or broken in treehub", bad, root)
	}
	return nil
}

// fetch brings one object into the folder and tells what is below it.
func (w *walk) fetch(ctx context.Context, name ostree.ObjectName) (ostree.Result, error) {
	r, size, err := w.hub.Object(ctx, name)
	if err != nil {
		return ostree.Result{}, err
	}
	defer r.Close()
	if name.Type == ostree.TypeFile {
		return ostree.Result{Name: name, Size: max(size, 0)}, w.dir.Put(ctx, name, size, r)
	}
	var data bytes.Buffer
	res, err := ostree.VerifyReader(name, size, io.TeeReader(r, &data))
	if err != nil {
		return ostree.Result{}, err
	}
	return res, w.dir.Put(ctx, name, res.Size, &data)
}
