package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// expectAbove is from which size on the server is asked before a body is sent.
const expectAbove = 1 << 20

// send sends a request below the base. Its errors are of the connection.
func (h *Hub) send(ctx context.Context, method, path string, body io.Reader, edit func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.base+"/"+path, body)
	if err != nil {
		return nil, permanent{err}
	}
	if h.agent != "" {
		req.Header.Set("User-Agent", h.agent)
	}
	// Else the transport would ask for compression and hide the length.
	req.Header.Set("Accept-Encoding", "identity")
	if edit != nil {
		edit(req)
	}
	return h.client.Do(req)
}

// escape makes the short name of a ref a path.
func escape(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// done is for requests of which only success matters.
func done(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer drain(res)
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return statusError(res)
	}
	return nil
}

// maxDrain is how much of an answer is read so that its connection is kept.
const maxDrain = 64 << 10

func drain(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxDrain))
	_ = res.Body.Close()
}

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	// Text is what the server says: code, description and cause of a JSON
	// error, else the name of the status.
	Text string
	// After is how long the server asks to wait, 0 if it does not say.
	After time.Duration
}

// Error returns status and text.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.Code, e.Text)
}

// Temporary reports whether the same request may succeed later: after 408, 425,
// 429 and all of 5xx but 501, 505 and 507.
func (e *StatusError) Temporary() bool {
	switch e.Code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return e.Code >= 500
}

// maxErrorText bounds what is read of an error, maxShown what is repeated.
const (
	maxErrorText = 16 << 10
	maxShown     = 500
)

func statusError(res *http.Response) error {
	e := &StatusError{Code: res.StatusCode, Text: http.StatusText(res.StatusCode)}
	var told struct {
		Code, Description string
		Cause             any
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorText))
	if json.Unmarshal(body, &told) == nil && told.Description != "" {
		e.Text = told.Description + " (" + told.Code + ")"
		if cause, ok := told.Cause.(string); ok && cause != "" {
			e.Text += ": " + cause
		}
	}
	e.Text = printable(e.Text)
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.After = time.Duration(seconds) * time.Second
	}
	return e
}

// printable keeps a server from writing control characters to our terminal.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return text
}

// permanent marks an error that trying again cannot mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// isLocal reports whether a failed request has a reason that lies here or in
// who the server is, which time does not mend.
func isLocal(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var name *net.DNSError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &alert) ||
		errors.As(err, &name) && name.IsNotFound
}

var errDetached = errors.New("the request is over")

// body hands r to one request. A transport may go on reading after it has
// returned an answer; once closed, body keeps it from r.
type body struct {
	mu    sync.Mutex
	r     io.Reader
	over  bool
	err   error // of r, other than its end
	count *atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errDetached
	}
	n, err := b.r.Read(p)
	b.count.Add(int64(n))
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	return nil
}

func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
