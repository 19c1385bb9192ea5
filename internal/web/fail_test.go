package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
)

type rules []string

func (r rules) Error() string   { return strings.Join(r, "; ") }
func (r rules) FaultCause() any { return []string(r) }

// A fault may bring its cause as a list; an accident may not.
func TestCauseInAFormOfItsOwn(t *testing.T) {
	broken := rules{"too old", "too long"}
	refused := fault.New(fault.Invalid, "refused", "refused").With("both").Wrap(broken)
	for err, want := range map[error]string{
		fmt.Errorf("checking: %w", refused): `"cause":["too old","too long"]`,
		fmt.Errorf("checking: %w", broken):  `"cause":null`,
	} {
		h, setup := web.New(web.Config{Routes: []web.Route{{Method: "GET", Pattern: "/x", Permission: web.Public,
			Handler: func(c *gin.Context) { web.Fail(c, err) }}}})
		if setup != nil {
			t.Fatal(setup)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%v: got %s, want %s", err, w.Body, want)
		}
	}
}

// No room is told as that, whoever has met it; a fault keeps its own words.
func TestNoRoomIsTold(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/secret/place", Err: syscall.ENOSPC}
	refused := fault.New(fault.Invalid, "refused", "refused")
	for err, want := range map[error]string{
		fmt.Errorf("storing: %w", full):               "507 storage_full",
		fmt.Errorf("storing: %w", syscall.EDQUOT):     "507 storage_full",
		fmt.Errorf("storing: %w", syscall.EIO):        "500 internal_server_error",
		fmt.Errorf("reading: %w", refused.Wrap(full)): "400 refused",
	} {
		h, setup := web.New(web.Config{Routes: []web.Route{{Method: "PUT", Pattern: "/x", Permission: web.Public,
			Handler: func(c *gin.Context) { web.Fail(c, err) }}}, Log: slog.New(slog.DiscardHandler)})
		if setup != nil {
			t.Fatal(setup)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/x", nil))
		var told struct{ Code string }
		if json.Unmarshal(w.Body.Bytes(), &told); fmt.Sprint(w.Code, " ", told.Code) != want || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: got %d %s, want %s", err, w.Code, w.Body, want)
		}
	}
}

// counted counts what a client has sent.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// A client that sends on although it is refused gets to its end and to the
// answer; one that proves nobody, or announces too much, is not listened to.
func TestRefusedBodyIsReadToItsEnd(t *testing.T) {
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: []web.Route{{Method: "PUT", Pattern: "/x", Permission: "write",
		Handler: func(c *gin.Context) {
			_, err := web.Body(c, 10)
			web.Fail(c, err)
		}}},
		Identify: func(r *http.Request) (web.Caller, error) {
			if r.Header.Get("Authorization") == "" {
				return web.Caller{}, web.ErrUnauthorized
			}
			return web.Caller{Namespace: "default", Permissions: []string{"write"}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, test := range []struct {
		name   string
		token  string
		size   int64
		status int
		whole  bool
	}{
		{"proved", "x", 4 << 20, http.StatusRequestEntityTooLarge, true},
		{"proves nobody", "", 4 << 20, http.StatusUnauthorized, false},
		{"far too much", "x", 64 << 20, http.StatusRequestEntityTooLarge, false},
	} {
		body := &counted{Reader: io.LimitReader(zeros{}, test.size)}
		req, err := http.NewRequest(http.MethodPut, server.URL+"/x", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = test.size
		req.Header.Set("Authorization", test.token)
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		answer, err := io.ReadAll(res.Body) // ends when the server is done with the request
		_ = res.Body.Close()
		sent := body.n.Load()
		if err != nil || !json.Valid(answer) || res.ProtoMajor != 2 || res.StatusCode != test.status || (sent == test.size) != test.whole {
			t.Errorf("%s: %s %s after %d of %d bytes: %s, %v", test.name, res.Proto, res.Status, sent, test.size, answer, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
