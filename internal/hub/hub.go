// Package hub speaks to a TreeHub over HTTP: a [Hub] is an ostree.Sink and an
// ostree.Source.
//
// It uses what every TreeHub offers, and asks for the existence of many
// objects at once where the server can answer that. How many requests it
// sends at once adapts to the server: one at first, one more with each round of
// successes, half as many after a failure. What fails for a reason that may
// pass is sent again; after half a minute in which nothing succeeded it gives up
// with the last error. What the server refuses for good (a [StatusError] that
// is not Temporary) is returned at once.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"sealift/treehub/ostree"
)

// Config says where a TreeHub is and how to speak to it.
type Config struct {
	// URL is the base, ".../api/v3", with or without a slash at its end.
	URL string
	// Client carries the credentials; see internal/credentials.
	Client *http.Client
	// Jobs is the most requests at once; 30 if zero.
	Jobs int
	// Force lets SetRef move a ref from a commit that is not the new one's parent.
	Force bool
	// Agent is sent as User-Agent.
	Agent string
	// Retry, if set, is told of each failure that will be tried again.
	Retry func(error)
}

// Hub is a TreeHub somewhere else. It is safe for concurrent use.
type Hub struct {
	base   string
	client *http.Client
	force  bool
	agent  string
	pace   *pace
	batch  batch
	sent   atomic.Int64 // bytes of objects
}

// DefaultJobs is the most requests at once unless Config.Jobs says otherwise.
const DefaultJobs = 30

// New returns a Hub. Nothing is sent yet.
func New(c Config) (*Hub, error) {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("reading address of TreeHub: %q is not an http or https URL", c.URL)
	}
	if c.Client == nil {
		return nil, errors.New("reading address of TreeHub: a client is required")
	}
	if c.Jobs <= 0 {
		c.Jobs = DefaultJobs
	}
	client := *c.Client
	// An object that is somewhere else is not on this TreeHub, and a redirected
	// POST would become a GET.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h := &Hub{base: strings.TrimRight(c.URL, "/"), client: &client, force: c.Force, agent: c.Agent, pace: newPace(c.Jobs, c.Retry)}
	h.batch.free = make(chan struct{}, 1)
	return h, nil
}

// Sent returns the bytes of objects sent so far, those of failed attempts
// included.
func (h *Hub) Sent() int64 { return h.sent.Load() }

// Has reports whether the TreeHub has an object. Calls that come while another
// one is on its way are asked together, if the TreeHub can do that.
func (h *Hub) Has(ctx context.Context, name ostree.ObjectName) (bool, error) {
	return h.batch.has(ctx, h, name)
}

// head asks for one object.
func (h *Hub) head(ctx context.Context, name ostree.ObjectName) (has bool, err error) {
	err = h.pace.do(ctx, func() error {
		res, err := h.send(ctx, http.MethodHead, "objects/"+name.Path(), nil, nil)
		if err != nil {
			return err
		}
		defer drain(res)
		switch res.StatusCode {
		case http.StatusOK:
			has = true
			return nil
		case http.StatusNotFound:
			has = false
			return nil
		}
		return statusError(res)
	})
	if err != nil {
		return false, fmt.Errorf("asking for %s: %w", name, err)
	}
	return has, nil
}

// Put sends an object. That the TreeHub has it by now is no error. If r is no
// io.Seeker, what fails is not tried again.
func (h *Hub) Put(ctx context.Context, name ostree.ObjectName, size int64, r io.Reader) error {
	seeker, again := r.(io.Seeker)
	first := true
	err := h.pace.do(ctx, func() error {
		if !first {
			if !again {
				return permanent{errors.New("what failed cannot be read again")}
			}
			if _, err := seeker.Seek(0, io.SeekStart); err != nil {
				return permanent{err}
			}
		}
		first = false
		return h.post(ctx, name, size, r)
	})
	if err != nil {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

// post sends an object once. Unless it succeeds nothing reads r after it returns.
func (h *Hub) post(ctx context.Context, name ostree.ObjectName, size int64, r io.Reader) error {
	body := &body{r: r, count: &h.sent}
	defer body.Close()
	res, err := h.send(ctx, http.MethodPost, "objects/"+name.Path(), body, func(req *http.Request) {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		if size > expectAbove || size < 0 {
			req.Header.Set("Expect", "100-continue")
		}
	})
	if failed := body.failure(); failed != nil {
		if err == nil {
			drain(res)
		}
		return permanent{failed} // the source is to blame, not the server
	}
	if err != nil {
		return err
	}
	defer drain(res)
	switch res.StatusCode {
	case http.StatusNoContent, http.StatusConflict, http.StatusOK, http.StatusCreated:
		return nil
	}
	return statusError(res)
}

// SetRef points a ref, by its short name, to a commit.
func (h *Hub) SetRef(ctx context.Context, name string, commit ostree.Checksum) error {
	err := h.pace.do(ctx, func() error {
		res, err := h.send(ctx, http.MethodPost, "refs/heads/"+escape(name), strings.NewReader(commit.String()), func(req *http.Request) {
			req.Header.Set("Content-Type", "application/octet-stream")
			if h.force {
				req.Header.Set("X-Ats-Ostree-Force", "true")
			}
		})
		return done(res, err)
	})
	if err != nil {
		return fmt.Errorf("setting ref %s: %w", name, err)
	}
	return nil
}

// PutManifest stores the source manifest, JSON, that a commit was built from.
func (h *Hub) PutManifest(ctx context.Context, commit ostree.Checksum, doc []byte) error {
	err := h.pace.do(ctx, func() error {
		res, err := h.send(ctx, http.MethodPut, "manifests/"+commit.String(), strings.NewReader(string(doc)), func(req *http.Request) {
			req.Header.Set("Content-Type", "application/json")
		})
		return done(res, err)
	})
	if err != nil {
		return fmt.Errorf("sending manifest of %s: %w", commit, err)
	}
	return nil
}

// Object opens an object; ostree.ErrNotFound if the TreeHub does not have it.
func (h *Hub) Object(ctx context.Context, name ostree.ObjectName) (io.ReadCloser, int64, error) {
	res, err := h.get(ctx, "objects/"+name.Path())
	if err != nil {
		return nil, 0, fmt.Errorf("fetching %s: %w", name, err)
	}
	return res.Body, res.ContentLength, nil
}

// maxRef is more than a checksum and a line end.
const maxRef = 128

// Ref resolves the short name of a ref; ostree.ErrNotFound if there is none.
func (h *Hub) Ref(ctx context.Context, name string) (ostree.Checksum, error) {
	res, err := h.get(ctx, "refs/heads/"+escape(name))
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("fetching ref %s: %w", name, err)
	}
	defer drain(res)
	text, err := io.ReadAll(io.LimitReader(res.Body, maxRef))
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("fetching ref %s: %w", name, err)
	}
	return ostree.ParseChecksum(strings.TrimSpace(string(text)))
}

// get returns a successful answer whose body is still to be read.
func (h *Hub) get(ctx context.Context, path string) (res *http.Response, err error) {
	err = h.pace.do(ctx, func() error {
		var err error
		if res, err = h.send(ctx, http.MethodGet, path, nil, nil); err != nil {
			return err
		}
		switch res.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusNotFound:
			drain(res)
			return permanent{ostree.ErrNotFound}
		}
		defer drain(res)
		return statusError(res)
	})
	return res, err
}

// errNotOffered: the TreeHub knows no batches.
var errNotOffered = errors.New("the server cannot be asked for several objects at once")

// maxAnswer bounds the answer to a batch: as many names as were asked for.
const maxAnswer = 1 << 20

// missing asks for many objects at once. Unless the server is proven to know
// the question, any answer but success is errNotOffered: whatever is wrong,
// single questions may still be answered.
func (h *Hub) missing(ctx context.Context, names []ostree.ObjectName, proven bool) (map[ostree.ObjectName]bool, error) {
	wanted := make([]string, len(names))
	for i, name := range names {
		wanted[i] = name.String()
	}
	question, err := json.Marshal(map[string][]string{"wanted": wanted})
	if err != nil {
		return nil, err
	}
	missing := map[ostree.ObjectName]bool{}
	err = h.pace.do(ctx, func() error {
		res, err := h.send(ctx, http.MethodPost, "objects/missing", strings.NewReader(string(question)), func(req *http.Request) {
			req.Header.Set("Content-Type", "application/json")
		})
		if err != nil {
			return err
		}
		defer drain(res)
		switch {
		case res.StatusCode == http.StatusOK:
		case proven, res.StatusCode == http.StatusUnauthorized:
			return statusError(res)
		default:
			return permanent{errNotOffered}
		}
		var answer struct {
			Missing []string `json:"missing"`
		}
		if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil || answer.Missing == nil {
			return permanent{errNotOffered} // something else answered
		}
		for _, text := range answer.Missing {
			name, err := ostree.ParseObjectName(text)
			if err != nil {
				return permanent{errNotOffered}
			}
			missing[name] = true
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("asking for %d objects: %w", len(names), err)
	}
	return missing, err
}
