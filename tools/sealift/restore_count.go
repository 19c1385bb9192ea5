package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// maxRestores bounds the file of earlier restores.
const maxRestores = 1 << 20

// countRestore notes a restore beside the master key and returns how many there
// have been, this one included. A backup knows nothing of what was signed after
// it was restored for the last time, perhaps an hour ago: each restore raises
// versions further than the one before.
func (s settings) countRestore(now time.Time, w io.Writer) int {
	n, err := noteRestore(s.MasterKey+".restores", now)
	if err != nil {
		fmt.Fprintf(w, "This restore could not be noted, %v. Before another one within a day or so give it --raise %d.\n", err, (n+1)*defaultRaise)
	}
	return n
}

func noteRestore(path string, now time.Time) (n int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrPermission) { // of a read-only place at least what is there counts
		before, _ := os.ReadFile(path)
		return bytes.Count(before, []byte("\n")) + 1, err
	}
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := io.ReadAll(io.LimitReader(f, maxRestores))
	n = bytes.Count(before, []byte("\n")) + 1
	if err != nil {
		return n, err
	}
	_, err = fmt.Fprintf(f, "%s restored\n", now.UTC().Format(time.RFC3339))
	return n, errors.Join(err, f.Sync())
}
