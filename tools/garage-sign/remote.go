package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"sealift/internal/home"
)

const (
	maxAnswer      = 64 << 20 // a large targets.json
	maxRootAnswer  = 1 << 20
	checksumHeader = "x-ats-role-checksum"
)

// remote is the repository's API.
type remote struct {
	client *http.Client
	base   string
	agent  string
	trace  func(format string, args ...any)
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// remoteError is an answer that says no, in the words of the server.
type remoteError struct {
	Request     string          `json:"-"`
	Status      int             `json:"-"`
	Code        string          `json:"code"`
	Description string          `json:"description"`
	Cause       json.RawMessage `json:"cause"`
}

func (e *remoteError) Error() string {
	s := fmt.Sprintf("%s: the server answered %d %s", e.Request, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Description != "" {
		s += ": " + printable(e.Description)
	}
	for _, r := range e.reasons() {
		s += "\n  - " + printable(r)
	}
	return s
}

// reasons are the lines of the cause. Servers of this family wrap the cause of
// another server's refusal in an error object of its own.
func (e *remoteError) reasons() []string {
	cause := e.Cause
	for range 4 {
		var list []string
		if json.Unmarshal(cause, &list) == nil {
			return list
		}
		var one string
		if json.Unmarshal(cause, &one) == nil && one != "" {
			return []string{one}
		}
		var nested struct {
			Cause json.RawMessage `json:"cause"`
		}
		if json.Unmarshal(cause, &nested) != nil {
			return nil
		}
		cause = nested.Cause
	}
	return nil
}

// printable keeps a server from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func (c *call) remote(h *home.Home) (*remote, error) {
	client, err := h.HTTPClient(c.ctx, c.get("cacert"))
	if err != nil {
		return nil, err
	}
	r := &remote{client: client, base: h.Config().BaseURL(), agent: c.program + "/" + version(), trace: func(string, ...any) {}}
	if c.has("verbose") {
		r.trace = func(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }
	}
	return r, nil
}

// send makes one request under the base URL and reads the answer, whatever its
// status.
func (r *remote) send(ctx context.Context, method, path string, body []byte, header http.Header) (answer, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+"/"+path, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r.exchange(r.client, req, maxAnswer)
}

func (r *remote) exchange(client *http.Client, req *http.Request, limit int64) (answer, error) {
	req.Header.Set("User-Agent", r.agent)
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer to %s %s: %w", req.Method, req.URL.Redacted(), err)
	}
	if int64(len(body)) > limit {
		return answer{}, fmt.Errorf("reading the answer to %s %s: larger than %d bytes", req.Method, req.URL.Redacted(), limit)
	}
	r.trace("%s %s: %d, %d bytes", req.Method, req.URL.Redacted(), res.StatusCode, len(body))
	return answer{status: res.StatusCode, header: res.Header, body: body}, nil
}

// refusal is the error of an answer that is not 2xx, nil for one that is.
func (a answer) refusal(method, path string) error {
	if a.status/100 == 2 {
		return nil
	}
	e := &remoteError{Request: method + " " + path, Status: a.status}
	if json.Unmarshal(a.body, e) != nil {
		e.Code, e.Description, e.Cause = "", "", nil // not the usual error body
	}
	return e
}

// must is send for requests that have to succeed.
func (r *remote) must(ctx context.Context, method, path string, body []byte, header http.Header) (answer, error) {
	a, err := r.send(ctx, method, path, body, header)
	if err == nil {
		err = a.refusal(method, path)
	}
	return a, err
}

// refused tells whether err is an answer with that code.
func refused(err error, code string) bool {
	var e *remoteError
	return errors.As(err, &e) && e.Code == code
}

// stageTwin sends TUF's flavour of a role ahead of Uptane's, which publishes
// both. A server without TUF does not know the route. One that refuses the twin
// is going to say at the push what is wrong, and devices need not wait for TUF.
func (c *call) stageTwin(r *remote, role string, doc []byte) error {
	if doc == nil {
		return nil
	}
	path := "tuf/" + role
	a, err := r.send(c.ctx, http.MethodPut, path, doc, nil)
	if err != nil {
		return err
	}
	err = a.refusal(http.MethodPut, path)
	switch {
	case err == nil:
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed, a.status == http.StatusNotImplemented:
		r.trace("no TUF view of the repository there")
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.status >= http.StatusInternalServerError:
		return err
	default:
		c.warn(fmt.Sprintf("the TUF flavour was not taken: %v", err))
	}
	return nil
}
