package diskblob

import (
	"os"
	"sync"
)

// syncer writes folders to disk. Callers that ask for one folder while it is
// being written wait and then share the next write: parallel writers pay for
// few.
type syncer struct {
	fsync   func(folder string) error
	mu      sync.Mutex
	folders map[string]*turns
}

// turns is the state of a folder that somebody waits for.
type turns struct {
	running sync.Mutex // held by the batch that is being written
	next    *batch     // open for joining; nil: none
	users   int        // who keeps this in the map
}

type batch struct {
	done chan struct{}
	err  error
}

// do returns when everything done to folder before the call is on disk.
func (s *syncer) do(folder string) error {
	s.mu.Lock()
	if s.folders == nil {
		s.folders = map[string]*turns{}
	}
	t := s.folders[folder]
	if t == nil {
		t = &turns{}
		s.folders[folder] = t
	}
	t.users++
	b := t.next
	leads := b == nil
	if leads {
		b = &batch{done: make(chan struct{})}
		t.next = b
	}
	s.mu.Unlock()
	if leads {
		s.lead(folder, t, b)
	}
	<-b.done
	s.mu.Lock()
	if t.users--; t.users == 0 {
		delete(s.folders, folder)
	}
	s.mu.Unlock()
	return b.err
}

// lead waits for its turn, closes the batch to others and writes.
func (s *syncer) lead(folder string, t *turns, b *batch) {
	t.running.Lock()
	defer t.running.Unlock()
	s.mu.Lock()
	t.next = nil
	s.mu.Unlock()
	b.err = s.fsync(folder)
	close(b.done)
}

// syncPath writes a folder of the bucket.
func (b *bucket) syncPath(folder string) error {
	f, err := b.root.Open(folder)
	if err != nil {
		return err
	}
	return syncClose(f)
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return syncClose(f)
}

func syncClose(f *os.File) error {
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
