package hub

import (
	"context"
	"errors"
	"sync"

	"sealift/treehub/ostree"
)

// maxBatch is how many names go into one question.
const maxBatch = 1000

// batch gathers questions for existence. While one is under way the others
// wait; then one of those sends them all.
type batch struct {
	free chan struct{} // holds a token while somebody asks

	mu      sync.Mutex
	waiting []*question
	refused bool // the server takes no batches
	proven  bool // it has taken one; belongs to the holder of the token
}

type question struct {
	name     ostree.ObjectName
	answered chan struct{}
	has      bool
	alone    bool // to be asked by itself
	err      error
}

func (b *batch) has(ctx context.Context, h *Hub, name ostree.ObjectName) (bool, error) {
	b.mu.Lock()
	if b.refused {
		b.mu.Unlock()
		return h.head(ctx, name)
	}
	q := &question{name: name, answered: make(chan struct{})}
	b.waiting = append(b.waiting, q)
	b.mu.Unlock()
	for {
		select {
		case <-q.answered:
			if q.alone {
				return h.head(ctx, name)
			}
			return q.has, q.err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case b.free <- struct{}{}:
			b.ask(ctx, h)
			<-b.free
		}
	}
}

// ask answers those that wait. A lone question is asked as every TreeHub knows
// it, and here, so that others gather meanwhile.
func (b *batch) ask(ctx context.Context, h *Hub) {
	b.mu.Lock()
	list := b.waiting[:min(len(b.waiting), maxBatch)]
	b.waiting = b.waiting[len(list):]
	refused := b.refused
	b.mu.Unlock()
	if len(list) == 1 && !refused {
		q := list[0]
		q.has, q.err = h.head(ctx, q.name)
		close(q.answered)
		return
	}
	var missing map[ostree.ObjectName]bool
	var err error
	if !refused && len(list) > 0 {
		missing, err = b.askTogether(ctx, h, list)
		refused = errors.Is(err, errNotOffered)
	}
	for _, q := range list {
		q.has, q.alone, q.err = !missing[q.name], refused, err
		close(q.answered)
	}
}

func (b *batch) askTogether(ctx context.Context, h *Hub, list []*question) (map[ostree.ObjectName]bool, error) {
	names := make([]ostree.ObjectName, len(list))
	for i, q := range list {
		names[i] = q.name
	}
	missing, err := h.missing(ctx, names, b.proven)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = errors.Is(err, errNotOffered)
	b.proven = b.proven || err == nil
	return missing, err
}
