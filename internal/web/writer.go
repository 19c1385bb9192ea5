package web

import (
	"io"
	"net/http"
	"time"
)

// step is how much of a large answer a client must take within its time, so
// that the slowest line that is borne with has 2 KiB a second.
const step = 256 << 10

// writer watches what is answered, and gives the connection up when the
// client takes nothing any more. It hands files through to the connection, so
// that the kernel can send them.
type writer struct {
	http.ResponseWriter
	conn     *http.ResponseController // nil: no deadlines
	patience time.Duration

	status int   // 0: nothing sent yet
	bytes  int64 // of the body
	failed bool  // the answer is an error body, whole in itself
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.await()
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	w.await()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *writer) ReadFrom(src io.Reader) (total int64, err error) {
	w.begin()
	for {
		w.await()
		n, err := copyStep(w.ResponseWriter, src)
		total += n
		w.bytes += n
		if err != nil || n < step {
			return total, err
		}
	}
}

// copyStep uses dst's ReadFrom where there is one. That looks for a file one
// io.LimitedReader deep, no deeper.
func copyStep(dst io.Writer, src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return io.Copy(dst, &io.LimitedReader{R: src, N: step})
	}
	n, err := io.Copy(dst, &io.LimitedReader{R: limited.R, N: min(limited.N, step)})
	limited.N -= n
	return n, err
}

// await sets the time by which what is written next must be taken.
func (w *writer) await() {
	if w.conn != nil {
		_ = w.conn.SetWriteDeadline(time.Now().Add(w.patience)) // not on a recorder
	}
}

func (w *writer) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// Flush is called by gin without asking whether it is there.
func (w *writer) Flush() {
	w.begin()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
