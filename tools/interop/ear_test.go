//go:build aktualizr

package interop

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"sealift/fixtures/fault"
)

// ear keeps what devices say, before anybody lies about it.
type ear struct {
	mu    sync.Mutex
	heard []utterance
}

type utterance struct {
	path string
	body []byte
}

// listen returns a handler that keeps bodies and hands requests on.
func (e *ear) listen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			e.mu.Lock()
			e.heard = append(e.heard, utterance{r.URL.Path, body})
			e.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// take returns what was sent to a path since the last call for it.
func (e *ear) take(path string) (bodies [][]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var rest []utterance
	for _, u := range e.heard {
		if u.path == path {
			bodies = append(bodies, u.body)
		} else {
			rest = append(rest, u)
		}
	}
	e.heard = rest
	return bodies
}

// report is an installation report of a manifest.
type report struct {
	Correlation string `json:"correlation_id"`
	Result      struct {
		Code    string `json:"code"`
		Success bool   `json:"success"`
	} `json:"result"`
}

// reports are those in the manifests since the last call, and how many manifests
// there were.
func (e *ear) reports(t *testing.T) (reports []report, manifests int) {
	t.Helper()
	bodies := e.take("/director/manifest")
	for _, body := range bodies {
		var m struct {
			Signed struct {
				Report *struct {
					Report report `json:"report"`
				} `json:"installation_report"`
			} `json:"signed"`
		}
		must(t, json.Unmarshal(body, &m))
		if m.Signed.Report != nil {
			reports = append(reports, m.Signed.Report.Report)
		}
	}
	return reports, len(bodies)
}

// sayings is what a device was heard to do in one cycle.
type sayings struct {
	log       string
	requests  []fault.Request
	reports   []report
	manifests int
}

// observe runs the client in a mode, and tells what it said and did.
func (l *liar) observe(t *testing.T, b *board, mode string) sayings {
	t.Helper()
	l.Requests()
	l.ear.reports(t)
	s := sayings{log: b.cycle(t, mode, b.patience)}
	s.requests = l.Requests()
	s.reports, s.manifests = l.ear.reports(t)
	return s
}

// asked counts requests below a path; of this status, if one is given.
func (s sayings) asked(below string, status ...int) (n int) {
	for _, r := range s.requests {
		if strings.HasPrefix(r.Path, below) && (len(status) == 0 || r.Status == status[0]) {
			n++
		}
	}
	return n
}

// says fails unless the client's log has every text.
func (s sayings) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(s.log, text) {
			t.Errorf("the client does not say %q; it says\n%s", text, s.log)
		}
	}
}

// refusedMetadata: the client says why, reports nothing but sends its manifest
// once more, and downloads nothing.
func (s sayings) refusedMetadata(t *testing.T, why ...string) {
	t.Helper()
	s.says(t, why...)
	if s.manifests != 2 || len(s.reports) > 0 || s.asked("/repo/targets/") > 0 {
		t.Errorf("%d manifests, reports %v, want 2 and none; requests %v\n%s", s.manifests, s.reports, s.requests, s.log)
	}
}

// failedUpdate: the client reports a failure once, for an update.
func (s sayings) failedUpdate(t *testing.T, code string) {
	t.Helper()
	if len(s.reports) != 1 || s.reports[0].Result.Code != code || s.reports[0].Result.Success || s.reports[0].Correlation == "" {
		t.Errorf("the client reports %+v, want %s; requests %v\n%s", s.reports, code, s.requests, s.log)
	}
}

// recovers: with an honest server the device gets what is assigned.
func (l *liar) recovers(t *testing.T, b *board, id, ecu, image string) {
	t.Helper()
	l.Honest()
	s := l.observe(t, b, "once")
	if got := l.installed(t, id)[ecu]; got != image {
		t.Errorf("with an honest server %s runs %q, want %q; requests %v\n%s", ecu, got, image, s.requests, s.log)
	}
}

// newDevice makes a board with a name and brings it to the server.
func (l *liar) newDevice(t *testing.T, o boardOptions) (*board, string) {
	t.Helper()
	b := newBoard(t, l.server, o)
	b.once(t)
	id, _ := l.device(t, o.name)
	return b, id
}
