package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"sealift/internal/fault"
)

// Config is what [New] needs to serve a route table.
type Config struct {
	Name     string   // of the edge, for logs and metrics: "gateway", "api"
	Routes   []Route  // required
	Identify Identify // required unless every route is Public

	// TrustProxy reports whether a request comes from a proxy that proved
	// itself, whose forwarding headers Identify may then read. They are
	// removed from all other requests. Nil trusts nobody.
	TrustProxy func(*http.Request) bool
	// EmptyErrors lists path prefixes under which an error has no body, only
	// its status and the x-sealift-error header: devices append whatever they
	// get to the file they download.
	EmptyErrors []string
	// Challenge is sent as WWW-Authenticate with 401; empty sends none.
	Challenge string
	// Version is sent as x-ats-version; empty sends none.
	Version string
	// Patience is how long a client may take nothing of its answer, or send
	// nothing of a body that nobody reads; 0 is two minutes.
	Patience time.Duration

	Log     *slog.Logger          // nil: slog.Default()
	Metrics prometheus.Registerer // nil: none
}

// Faults of the surface itself. Codes with a counterpart in ATS services are
// spelled as there.
var (
	// ErrUnauthorized: the request proves nobody.
	ErrUnauthorized = fault.New(fault.Unauthorized, "unauthorized", "credentials are missing or not accepted")
	// ErrForbidden: the caller lacks the permission of the route.
	ErrForbidden = fault.New(fault.Forbidden, "forbidden", "not allowed for this caller")
	// ErrInvalid: the body or a parameter has the wrong form.
	ErrInvalid = fault.New(fault.Invalid, "invalid_entity", "the request is malformed")
	// ErrFull: what stores data has no room left. Nothing of the request is kept.
	ErrFull = fault.New(fault.Full, "storage_full", "the server has no room left to store this")
	// ErrTooLarge: the body is over the limit of its route.
	ErrTooLarge = fault.New(fault.TooLarge, "body_too_large", "the body of the request is too large")

	errNamespace = fault.New(fault.Forbidden, "namespace_mismatch", "x-ats-namespace is not the caller's namespace")
	errNoRoute   = fault.New(fault.NotFound, "not_found", "no such path")
	errNoMethod  = fault.New(fault.MethodNotAllowed, "method_not_allowed", "this path does not offer the method")
)

const defaultPatience = 2 * time.Minute

type handler struct {
	cfg     Config
	table   table
	engine  *gin.Engine
	metrics metrics
}

// New checks the route table and returns the handler that serves it. It
// refuses rows without permission, rows without or with two handlers, and two
// rows for the same requests.
func New(cfg Config) (http.Handler, error) {
	h := &handler{cfg: cfg}
	if h.cfg.Log == nil {
		h.cfg.Log = slog.Default()
	}
	if h.cfg.Patience == 0 {
		h.cfg.Patience = defaultPatience
	}
	var err error
	if h.table, err = newTable(cfg.Routes); err != nil {
		return nil, err
	}
	for _, r := range cfg.Routes {
		if r.Permission != Public && cfg.Identify == nil {
			return nil, fmt.Errorf("serving %s: Identify is required", r)
		}
	}
	if h.metrics, err = newMetrics(cfg.Name, cfg.Metrics); err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode) // else gin prints to standard output
	h.engine = gin.New()
	if err := h.engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	for method := range h.table {
		h.engine.Handle(method, "/*path", runHandler)
	}
	return h, nil
}

// request is what the steps of one request tell each other.
type request struct {
	id        string // error id
	emptyBody bool
	challenge string
	writer    *writer
	route     *Route
	params    gin.Params
	err       error // why it was refused or failed
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	rq, _ := ctx.Value(requestKey{}).(*request)
	return rq
}

func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rq := &request{id: uuid.NewString(), challenge: h.cfg.Challenge, writer: h.newWriter(rw)}
	defer h.limitBody(rw, r)()
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, rq))
	var who Caller
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			h.panicked(rq, r, p)
		}
		h.record(rq, r, who, time.Since(start))
		if p != nil && rq.writer.status != 0 && !rq.writer.failed {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}()
	h.setHeaders(rq.writer.Header())
	r, who, err := h.admit(rq, r)
	if err != nil {
		Error(rq.writer, r, err)
		return
	}
	if rq.route.Raw != nil {
		for _, p := range rq.params {
			r.SetPathValue(p.Key, p.Value)
		}
		rq.route.Raw(rq.writer, r)
		return
	}
	h.engine.ServeHTTP(rq.writer, r)
}

func (h *handler) newWriter(rw http.ResponseWriter) *writer {
	return &writer{ResponseWriter: rw, conn: http.NewResponseController(rw), patience: h.cfg.Patience}
}

// limitBody keeps HTTP/1 clients from holding a connection with a body that
// nobody reads: net/http waits for the rest of it, without end, before it
// sends an answer or takes the next request. Handlers that do read a body set
// deadlines of their own. It also takes off what the answer before left.
// What it returns is to be called in the end.
func (h *handler) limitBody(rw http.ResponseWriter, r *http.Request) func() {
	if r.ProtoMajor != 1 {
		return func() {}
	}
	conn := http.NewResponseController(rw)
	_ = conn.SetWriteDeadline(time.Time{}) // not on a recorder
	if r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	limit := func() {
		_ = conn.SetReadDeadline(time.Now().Add(h.cfg.Patience))
		_ = conn.SetWriteDeadline(time.Now().Add(2 * h.cfg.Patience)) // a short answer goes out after the body's time
	}
	limit()
	return limit
}

// runHandler is the only handler gin knows.
func runHandler(c *gin.Context) {
	rq := requestOf(c.Request.Context())
	c.Params = rq.params
	rq.route.Handler(c)
}

// admit takes a request through the steps before its handler. What it
// returns is to be used also when it fails.
func (h *handler) admit(rq *request, r *http.Request) (*http.Request, Caller, error) {
	path, err := normalise(r.URL.Path)
	rq.emptyBody = slices.ContainsFunc(h.cfg.EmptyErrors, func(prefix string) bool {
		return strings.HasPrefix(path+"/", prefix)
	})
	if err != nil {
		return r, Caller{}, err
	}
	u := *r.URL
	u.Path, u.RawPath = path, ""
	r.URL = &u // WithContext made r our own, but not its URL
	route, params, allowed := h.table.match(r.Method, path)
	if route == nil {
		if len(allowed) == 0 {
			return r, Caller{}, errNoRoute
		}
		rq.writer.Header().Set("Allow", strings.Join(allowed, ", "))
		return r, Caller{}, errNoMethod
	}
	rq.route, rq.params = route, params
	h.stripHeaders(r)
	if route.Permission == Public {
		r.Header.Del(namespaceHeader)
		return r, Caller{Kind: Anonymous}, nil
	}
	who, err := h.cfg.Identify(r)
	if err != nil {
		return r, Caller{Kind: Anonymous}, err
	}
	if !who.May(route.Permission) {
		return r, who, ErrForbidden.With("permission " + route.Permission + " is required")
	}
	for _, ns := range r.Header.Values(namespaceHeader) {
		if ns != string(who.Namespace) {
			return r, who, errNamespace
		}
	}
	return r.WithContext(WithCaller(r.Context(), who)), who, nil
}

func (h *handler) panicked(rq *request, r *http.Request, p any) {
	err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	if rq.writer.status == 0 {
		Error(rq.writer, r, err)
		return
	}
	rq.err = err
}

// record writes the one log line of a request. What the operator should see
// stands out; devices asking for a root that does not exist yet, a third of
// all traffic, do not.
func (h *handler) record(rq *request, r *http.Request, who Caller, took time.Duration) {
	status := rq.writer.status
	if status == 0 {
		status = http.StatusOK
	}
	gone := rq.err != nil && r.Context().Err() != nil && errors.Is(rq.err, context.Canceled)
	level, msg := slog.LevelInfo, "request served"
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case gone:
		level, msg = slog.LevelDebug, "client went away"
	case status >= 500 || rq.err != nil && fault.Of(rq.err) == nil:
		level, msg = slog.LevelError, "request failed"
	case status == http.StatusNotFound && reading:
		level, msg = slog.LevelDebug, "request refused"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		level, msg = slog.LevelWarn, "request refused"
	case status >= 400:
		msg = "request refused"
	case reading:
		level = slog.LevelDebug
	}
	h.metrics.observe(rq.route, r.Method, status, took)
	log := h.cfg.Log
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("edge", h.cfg.Name), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", status), slog.String("caller", who.String()), slog.String("namespace", string(who.Namespace)),
		slog.String("remote", r.RemoteAddr), slog.Int64("bytes", rq.writer.bytes), slog.Duration("took", took),
	}
	if rq.err != nil {
		attrs = append(attrs, slog.String("error_id", rq.id), slog.String("error", rq.err.Error()))
	}
	log.LogAttrs(r.Context(), level, msg, attrs...)
}
