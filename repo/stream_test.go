package repo_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"sealift/internal/db/dbtest"
	"sealift/repo"
)

// zeros is a body that nobody has in memory.
type zeros struct{ left int }

func (z *zeros) Read(b []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), z.left)
	clear(b[:n])
	z.left -= n
	return n, nil
}

// An image goes through a server's memory in pieces, however large it is and
// whatever is said of its length.
func TestImagesAreStreamed(t *testing.T) {
	const size = 64 << 20
	w, _ := newWorld(t, dbtest.SQLite(t))
	w.maxImage = size
	s := w.server()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i, said := range []int64{size, -1} {
		if _, err := s.PutImage(t.Context(), ns, fmt.Sprint("fw-", i), said, &zeros{size}, "x"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.PutImage(t.Context(), ns, "fw-2", -1, &zeros{size + 1}, "x")
	wantFault(t, err, repo.ErrTooLarge)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > size/4 {
		t.Errorf("%d bytes of memory for images of %d", n, size)
	}
}
