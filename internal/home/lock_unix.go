//go:build unix

package home

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// TryLock takes the home for this process and tells whether it could: commands
// that run side by side in one home would undo one another's changes. Calling
// unlock, or the end of the process, gives it back.
func (h *Home) TryLock() (unlock func(), ok bool, err error) {
	f, err := os.OpenFile(h.path(".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("locking signing home: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { f.Close() }, true, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return func() {}, true, nil // some file systems know no locks
}
