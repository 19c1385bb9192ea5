package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sealift/uptane"
)

// fresh is how long what replicas remember may lag behind the database.
const fresh = time.Second

// The names of stamps.
const (
	stampRoots        = "roots"
	stampCertificates = "certificates"
)

// stamps tells whether what is remembered of a namespace still holds: a
// stamp is a random word that changes with the thing. Asking costs one read a
// second, however many ask; who asks while it runs waits for it.
type stamps struct{ byNamespace sync.Map } // uptane.Namespace -> *stampSet

type stampSet struct {
	mu    sync.Mutex
	read  time.Time
	words map[string]string
}

func (s *stamps) set(ns uptane.Namespace) *stampSet {
	if set, ok := s.byNamespace.Load(ns); ok {
		return set.(*stampSet)
	}
	set, _ := s.byNamespace.LoadOrStore(ns, &stampSet{})
	return set.(*stampSet)
}

// stamp returns the stamp of a thing, "" for one that never changed. Read it
// before the thing itself: a stamp that is too old only means reading again.
func (v *Vault) stamp(ctx context.Context, ns uptane.Namespace, name string) (string, error) {
	set := v.stamps.set(ns)
	set.mu.Lock()
	defer set.mu.Unlock()
	now := v.now()
	if age := now.Sub(set.read); set.words == nil || age < 0 || age >= fresh {
		words, err := v.store.stamps(ctx, ns)
		if err != nil {
			return "", fmt.Errorf("reading stamps of namespace %s: %w", ns, err)
		}
		set.words, set.read = words, now
	}
	return set.words[name], nil
}

// touched makes the next stamp of the namespace be read anew: call it after
// committing a change.
func (v *Vault) touched(ns uptane.Namespace) {
	set := v.stamps.set(ns)
	set.mu.Lock()
	defer set.mu.Unlock()
	set.words = nil
}
