package drill_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
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
	no    []refused
}

// around watches a transport.
func (w *witness) around(next http.RoundTripper) http.RoundTripper {
	return watched{w, next}
}

type watched struct {
	*witness
	next http.RoundTripper
}

// RoundTrip notes a write once the answer says that it was done, and whatever the
// server was in too much trouble for.
func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	switch {
	case err != nil:
		return res, err
	case res.StatusCode >= http.StatusInternalServerError:
		return res, w.noteRefused(r, res)
	case res.StatusCode/100 == 2 && writes(r):
		w.note(r)
	}
	return res, nil
}

func writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

func (w watched) note(r *http.Request) {
	a := acknowledged{method: r.Method, path: r.URL.Path}
	if !strings.Contains(r.URL.Path, "/objects/") {
		a.body = bodyOf(r)
	}
	w.mu.Lock()
	w.all = append(w.all, a)
	w.mu.Unlock()
	w.tally.heard(w.kind)
}

func (w watched) noteRefused(r *http.Request, res *http.Response) error {
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(raw))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.no = append(w.no, refused{request: r, body: bodyOf(r), next: w.next, answer: answerOf(res, raw)})
	return err
}

// bodyOf returns what a request brought, if it can still be told.
func bodyOf(r *http.Request) []byte {
	if r.GetBody == nil {
		return nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil
	}
	raw, _ := io.ReadAll(body)
	return raw
}

// answer is what a server said.
type answer struct {
	status       int
	header, told string // the id of the error, in the header and in the body
	code         string // of the error
	body         []byte
}

func answerOf(res *http.Response, body []byte) answer {
	a := answer{status: res.StatusCode, header: res.Header.Get("x-sealift-error"), body: body}
	var problem struct{ Code, ErrorID string }
	if json.Unmarshal(body, &problem) == nil {
		a.told, a.code = problem.ErrorID, problem.Code
	}
	return a
}

// refused is a request that the server could not do.
type refused struct {
	request *http.Request
	body    []byte
	next    http.RoundTripper
	answer  answer
}

func (r refused) String() string { return r.request.Method + " " + r.request.URL.Path }

// again sends the very same request once more.
func (r refused) again(ctx context.Context) (answer, error) {
	request := r.request.Clone(ctx)
	request.Body = io.NopCloser(bytes.NewReader(r.body))
	res, err := r.next.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return answerOf(res, raw), err
}

// refused returns the writes that the server could not do, in order.
func (w *witness) refused() []refused {
	return slices.DeleteFunc(w.trouble(), func(r refused) bool { return !writes(r.request) })
}

// trouble returns all that the server could not do, in order.
func (w *witness) trouble() []refused {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.no)
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
