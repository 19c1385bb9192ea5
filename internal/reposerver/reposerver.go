// Package reposerver speaks to an Image repository over HTTP, as those do who
// sign for it: it exchanges role documents and uploads images. What is signed,
// and with which keys, is the business of package home.
//
// A Server remembers nothing but what the server has said it reads, and is safe
// for concurrent use.
package reposerver

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// Limits of answers in bytes.
const (
	maxAnswer     = 64 << 20 // a large targets.json
	maxRoot       = 256 << 10
	maxPartAnswer = 1 << 20
)

// Config says where the repository is.
type Config struct {
	URL    string       // base of the paths, without a slash at the end
	Client *http.Client // identifies itself to the server
	Agent  string       // sent as User-Agent
	// ZipFrom is the size in bytes from which on bodies are compressed, for
	// servers that have said that they read them; 0 is never.
	ZipFrom int
	// MaxRoots is how many new roots are followed at once; 0 is 1024.
	MaxRoots int
	// Trace, if set, is told of each request.
	Trace func(string)
	// Warn, if set, is told what did not stop the work but should be looked at.
	Warn func(string)
}

// Server is an Image repository somewhere else.
type Server struct {
	c      Config
	unzips atomic.Bool // the server has said so
}

// New returns a Server. Nothing is sent yet.
func New(c Config) *Server {
	if c.MaxRoots == 0 {
		c.MaxRoots = 1024
	}
	if c.Trace == nil {
		c.Trace = func(string) {}
	}
	if c.Warn == nil {
		c.Warn = func(string) {}
	}
	return &Server{c: c}
}

// Answer is a response with its body read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do makes one request under the base URL and reads the answer, whatever its
// status. A body is sent as JSON.
func (s *Server) Do(ctx context.Context, method, path string, body []byte, header http.Header) (Answer, error) {
	return s.do(ctx, method, path, body, header, maxAnswer)
}

func (s *Server) do(ctx context.Context, method, path string, body []byte, header http.Header, limit int64) (Answer, error) {
	zipped := s.c.ZipFrom > 0 && len(body) >= s.c.ZipFrom && s.unzips.Load()
	var reader io.Reader
	if zipped {
		reader = bytes.NewReader(zip(body))
	} else if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.c.URL+"/"+path, reader)
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if zipped {
		req.Header.Set("Content-Encoding", "gzip")
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return s.exchange(s.c.Client, req, limit)
}

func zip(body []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(body) // into memory: cannot fail
	_ = w.Close()
	return out.Bytes()
}

// Must is Do for requests that have to succeed: an answer that says no is a
// *Refusal.
func (s *Server) Must(ctx context.Context, method, path string, body []byte, header http.Header) (Answer, error) {
	return s.must(ctx, method, path, body, header, maxAnswer)
}

func (s *Server) must(ctx context.Context, method, path string, body []byte, header http.Header, limit int64) (Answer, error) {
	a, err := s.do(ctx, method, path, body, header, limit)
	if err == nil {
		err = a.refusal(method, path)
	}
	return a, err
}

// Download writes the body of a GET to w, of any size, and returns its length.
// Redirects are followed. An answer that says no is a *Refusal; nothing is written
// then.
func (s *Server) Download(ctx context.Context, path string, w io.Writer) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.URL+"/"+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", s.c.Agent)
	res, err := s.c.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxPartAnswer)) // what can be had of the reason
		return 0, Answer{Status: res.StatusCode, Body: body}.refusal(http.MethodGet, path)
	}
	n, err := io.Copy(w, res.Body)
	if err != nil {
		return n, fmt.Errorf("reading the answer to GET %s: %w", path, err)
	}
	return n, nil
}

func (s *Server) exchange(client *http.Client, req *http.Request, limit int64) (Answer, error) {
	req.Header.Set("User-Agent", s.c.Agent)
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer to %s %s: %w", req.Method, req.URL.Redacted(), err)
	}
	if int64(len(body)) > limit {
		return Answer{}, fmt.Errorf("reading the answer to %s %s: larger than %d bytes", req.Method, req.URL.Redacted(), limit)
	}
	if readsGzip(res.Header) {
		s.unzips.Store(true)
	}
	sent := ""
	if req.Header.Get("Content-Encoding") != "" {
		sent = fmt.Sprintf(" with %d bytes of gzip", req.ContentLength)
	}
	s.c.Trace(fmt.Sprintf("%s %s%s: %d, %d bytes", req.Method, req.URL.Redacted(), sent, res.StatusCode, len(body)))
	return Answer{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// readsGzip reports whether a server says which encodings of bodies it reads, and
// that gzip is among them. Not every server of this family does either.
func readsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return true
		}
	}
	return false
}

// Refusal is an answer that says no, in the words of the server.
type Refusal struct {
	Request     string          `json:"-"`
	Status      int             `json:"-"`
	Code        string          `json:"code"`
	Description string          `json:"description"`
	Cause       json.RawMessage `json:"cause"`
}

// Error has the reasons a line each, fit for a terminal.
func (e *Refusal) Error() string {
	s := fmt.Sprintf("%s: the server answered %d %s", e.Request, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s += " " + printable(e.Code)
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
func (e *Refusal) reasons() []string {
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
			Cause                     json.RawMessage `json:"cause"`
			Judge, Rule, Role, Reason string          // of a gate that reads everything as devices would
		}
		if json.Unmarshal(cause, &nested) != nil {
			return nil
		}
		if nested.Reason != "" {
			return []string{fmt.Sprintf("%s, as %s judges by rule %s: %s", nested.Role, nested.Judge, nested.Rule, nested.Reason)}
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

// refusal is the error of an answer that is not 2xx, nil for one that is.
func (a Answer) refusal(method, path string) error {
	if a.Status/100 == 2 {
		return nil
	}
	e := &Refusal{Request: method + " " + path, Status: a.Status}
	if json.Unmarshal(a.Body, e) != nil {
		e.Code, e.Description, e.Cause = "", "", nil // not the usual error body
	}
	return e
}

// Refused tells whether err is an answer with that code.
func Refused(err error, code string) bool {
	var e *Refusal
	return errors.As(err, &e) && e.Code == code
}
