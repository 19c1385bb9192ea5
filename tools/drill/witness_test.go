package drill_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
)

// acknowledged is a request that the server has answered with success: what it
// brought must not be lost any more.
type acknowledged struct {
	method, path string
	body         []byte // of requests small enough to be repeated
}

// kind sorts the writes of a drill, by who sends them.
type kind string

const (
	object     kind = "object"     // a build
	report     kind = "report"     // a device: manifests, events and what else it says
	assignment kind = "assignment" // an operator
)

// tally counts what a server acknowledges, for who waits for a moment. Safe for
// concurrent use.
type tally struct {
	mu      sync.Mutex
	kind    kind
	left    int
	reached chan struct{}
}

// await returns a channel that is closed once n more writes of a kind were
// acknowledged. One call at a time.
func (t *tally) await(k kind, n int) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kind, t.left, t.reached = k, n, make(chan struct{})
	return t.reached
}

func (t *tally) heard(k kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k != t.kind || t.left == 0 {
		return
	}
	if t.left--; t.left == 0 {
		close(t.reached)
	}
}

// witness remembers what was acknowledged, in order. Safe for concurrent use.
type witness struct {
	kind  kind
	tally *tally
	mu    sync.Mutex
	all   []acknowledged
}

// around watches a transport.
func (w *witness) around(next http.RoundTripper) http.RoundTripper {
	return watched{w, next}
}

type watched struct {
	*witness
	next http.RoundTripper
}

// RoundTrip notes the request once the answer says that it was done.
func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	if err != nil || res.StatusCode/100 != 2 || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return res, err
	}
	a := acknowledged{method: r.Method, path: r.URL.Path}
	if r.GetBody != nil && !strings.Contains(r.URL.Path, "/objects/") {
		if body, err := r.GetBody(); err == nil {
			a.body, _ = io.ReadAll(body)
		}
	}
	w.mu.Lock()
	w.all = append(w.all, a)
	w.mu.Unlock()
	w.tally.heard(w.kind)
	return res, nil
}

// of returns what was acknowledged whose path contains part.
func (w *witness) of(method, part string) []acknowledged {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []acknowledged
	for _, a := range w.all {
		if a.method == method && strings.Contains(a.path, part) {
			list = append(list, a)
		}
	}
	return list
}
