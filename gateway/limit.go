package gateway

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/uptane"
)

// What one device may ask of a server that works for a whole fleet. A client
// of ours has a dozen requests under way at most and reports a few times in
// ten seconds; a stolen certificate must not be able to fill memory, to keep
// the one writer of the database busy, or to pile up rows.
const (
	maxReads   = 128 // requests under way at once that take something
	maxReports = 4   // and that bring something

	reportBurst = 300.0    // reports one device may bring at once,
	reportRate  = 2.0      // and a second after that
	reportUnit  = 32 << 10 // bytes of body that count as one more report
	// registrationCost is what a registration counts: it can make new metadata.
	registrationCost = 10
)

var errTooMany = fault.New(fault.TooMany, "too_many_requests", "this device asks more than a device may; try again later")

// limits knows what each device has under way. Safe for concurrent use.
type limits struct {
	now func() time.Time

	mu      sync.Mutex
	usage   map[deviceKey]*usage
	sweepAt int // how many devices are too many to remember for nothing
}

type deviceKey struct {
	namespace uptane.Namespace
	device    uptane.DeviceID
}

// usage is what one device does. Tokens may be below zero: the size of a body
// is known when it has been read.
type usage struct {
	reads, reports int
	tokens         float64
	at             time.Time
}

const minSweep = 1024

func newLimits(now func() time.Time) *limits {
	return &limits{now: now, usage: map[deviceKey]*usage{}, sweepAt: minSweep}
}

// of returns what a device does, its tokens up to date.
func (l *limits) of(key deviceKey) *usage {
	now := l.now()
	u := l.usage[key]
	if u == nil {
		l.sweep(now)
		u = &usage{tokens: reportBurst, at: now}
		l.usage[key] = u
	}
	u.refill(now)
	return u
}

func (u *usage) refill(now time.Time) {
	if passed := now.Sub(u.at); passed > 0 {
		u.tokens = min(reportBurst, u.tokens+passed.Seconds()*reportRate)
	}
	u.at = now
}

// sweep forgets devices of which nothing is to be remembered, each time their
// number has doubled.
func (l *limits) sweep(now time.Time) {
	if len(l.usage) < l.sweepAt {
		return
	}
	for key, u := range l.usage {
		if u.refill(now); u.reads == 0 && u.reports == 0 && u.tokens == reportBurst {
			delete(l.usage, key)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.usage))
}

// read begins a request that takes something; done ends it.
func (l *limits) read(key deviceKey) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.of(key)
	if u.reads >= maxReads {
		return nil, errTooMany
	}
	u.reads++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		u.reads--
	}, nil
}

// report begins a request that brings something and counts as cost reports;
// done ends it and takes the size of its body.
func (l *limits) report(key deviceKey, cost int) (done func(body int64), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.of(key)
	if u.reports >= maxReports || u.tokens < 1 {
		return nil, errTooMany
	}
	u.reports++
	u.tokens -= float64(cost)
	return func(body int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		u.reports--
		u.tokens -= float64(body / reportUnit)
	}, nil
}

// limit returns a route of devices with the limits around its handler.
func (l *limits) limit(r web.Route) web.Route {
	if r.Permission != permitDevice {
		return r
	}
	begin := l.around(r)
	if raw := r.Raw; raw != nil {
		r.Raw = func(w http.ResponseWriter, req *http.Request) {
			done, err := begin(req)
			if err != nil {
				web.Error(w, req, err)
				return
			}
			defer done()
			raw(w, req)
		}
		return r
	}
	handle := r.Handler
	r.Handler = func(c *gin.Context) {
		done, err := begin(c.Request)
		if err != nil {
			web.Fail(c, err)
			return
		}
		defer done()
		handle(c)
	}
	return r
}

func (l *limits) around(r web.Route) func(*http.Request) (func(), error) {
	cost := 1
	if r.Pattern == patternECUs {
		cost = registrationCost
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	return func(req *http.Request) (func(), error) {
		who, _ := web.CallerFrom(req.Context())
		key := deviceKey{who.Namespace, who.Device}
		if reading {
			return l.read(key)
		}
		done, err := l.report(key, cost)
		if err != nil {
			return nil, err
		}
		body := &counted{ReadCloser: req.Body}
		req.Body = body
		return func() { done(body.n) }, nil
	}
}

// counted is a body that knows how much of it was read.
type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}
