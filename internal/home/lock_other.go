//go:build !unix

package home

// TryLock does nothing on this system.
func (h *Home) TryLock() (unlock func(), ok bool, err error) { return func() {}, true, nil }
