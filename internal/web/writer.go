package web

import (
	"io"
	"net/http"
)

// writer watches what is answered. It hands files through to the
// connection, so that the kernel can send them.
type writer struct {
	http.ResponseWriter
	status int   // 0: nothing sent yet
	bytes  int64 // of the body
	failed bool  // the answer is an error body, whole in itself
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	w.begin()
	n, err := io.Copy(w.ResponseWriter, src) // uses its ReadFrom where there is one
	w.bytes += n
	return n, err
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
