package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
)

// Public is the permission of routes that anyone may use without proof.
const Public = "public"

// Route is a row of an edge's route table.
type Route struct {
	Method string
	// Pattern is a path without trailing slash. A segment :NAME matches any
	// one segment, a last segment *NAME the rest of the path, one segment at
	// least. A fixed segment goes before :NAME, :NAME before *NAME. Handlers
	// read the matched parts with c.Param or r.PathValue, without a leading
	// slash.
	Pattern string
	// Permission is what the caller must have, or [Public]. It is never empty.
	Permission string
	// Handler answers; or Raw, which gets net/http's own ResponseWriter so that
	// large files take the fast path. One of the two is set.
	Handler gin.HandlerFunc
	Raw     http.HandlerFunc
}

// String returns method, pattern and permission, for lists in tests.
func (r Route) String() string { return r.Method + " " + r.Pattern + " " + r.Permission }

func (r Route) check() error {
	switch {
	case r.Method == "" || r.Permission == "":
		return errors.New("method and permission are required")
	case (r.Handler == nil) == (r.Raw == nil):
		return errors.New("one of Handler and Raw is required")
	case !strings.HasPrefix(r.Pattern, "/"):
		return errors.New("a pattern begins with a slash")
	}
	segs := segments(r.Pattern)
	for i, s := range segs {
		switch {
		case s == "" || s == ":" || s == "*":
			return errors.New("a segment is empty")
		case s[0] == '*' && i < len(segs)-1:
			return errors.New("a catch-all comes last")
		}
	}
	return nil
}

// table finds the route of a request: one tree of segments a method.
type table map[string]*node

type node struct {
	fixed map[string]*node
	param *node
	route *Route // ends here
	rest  *Route // takes whatever follows
}

func newTable(routes []Route) (table, error) {
	t := table{}
	for _, r := range routes {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("reading route %s: %w", r, err)
		}
		if t[r.Method] == nil {
			t[r.Method] = &node{}
		}
		slot := t[r.Method].slot(segments(r.Pattern))
		if *slot != nil {
			return nil, fmt.Errorf("reading route %s: %s is the same", r, **slot)
		}
		*slot = &r
	}
	return t, nil
}

// slot returns where the route with these segments belongs.
func (n *node) slot(segs []string) **Route {
	if len(segs) == 0 {
		return &n.route
	}
	switch s := segs[0]; s[0] {
	case '*':
		return &n.rest
	case ':':
		if n.param == nil {
			n.param = &node{}
		}
		return n.param.slot(segs[1:])
	default:
		if n.fixed[s] == nil {
			if n.fixed == nil {
				n.fixed = map[string]*node{}
			}
			n.fixed[s] = &node{}
		}
		return n.fixed[s].slot(segs[1:])
	}
}

// find returns the route of a normalised path with its variable parts in
// order, or nil.
func (n *node) find(segs, values []string) (*Route, []string) {
	if len(segs) == 0 {
		return n.route, values
	}
	if child := n.fixed[segs[0]]; child != nil {
		if r, v := child.find(segs[1:], values); r != nil {
			return r, v
		}
	}
	if n.param != nil {
		if r, v := n.param.find(segs[1:], append(slices.Clip(values), segs[0])); r != nil {
			return r, v
		}
	}
	if n.rest != nil {
		return n.rest, append(slices.Clip(values), strings.Join(segs, "/"))
	}
	return nil, nil
}

// match returns the route of a request, or nil and the methods for which
// there is one at this path.
func (t table) match(method, path string) (r *Route, params gin.Params, allowed []string) {
	segs := segments(path)
	if n := t[method]; n != nil {
		if r, values := n.find(segs, nil); r != nil {
			return r, r.params(values), nil
		}
	}
	for _, m := range slices.Sorted(maps.Keys(t)) {
		if r, _ := t[m].find(segs, nil); r != nil {
			allowed = append(allowed, m)
		}
	}
	return nil, nil, allowed
}

func (r *Route) params(values []string) gin.Params {
	var list gin.Params
	for _, s := range segments(r.Pattern) {
		if s[0] == ':' || s[0] == '*' {
			list = append(list, gin.Param{Key: s[1:], Value: values[len(list)]})
		}
	}
	return list
}

// segments splits a pattern or a normalised path; the root has none.
func segments(path string) []string {
	if path == "/" {
		return nil
	}
	return strings.Split(path[1:], "/")
}

// Paths longer than this are refused; names in them are far shorter.
const maxPath = 4096

var errPath = fault.New(fault.Invalid, "invalid_path", "the path of the request is malformed")

// normalise brings a decoded path into the one form that is matched and
// authorised: several slashes count as one, a last one does not count.
// Clients put slashes at the end of base URLs and of paths as they like.
// With an error the path is good for nothing but looking at its beginning.
func normalise(path string) (string, error) {
	var err error
	if len(path) > maxPath {
		err = errPath.With("it is too long")
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		err = errPath.With("it contains control characters or is not UTF-8")
	}
	var b strings.Builder
	for s := range strings.SplitSeq(path, "/") {
		if s == "" {
			continue
		}
		if s == "." || s == ".." {
			err = errPath.With("it contains a dot segment")
		}
		b.WriteByte('/')
		b.WriteString(s)
	}
	if b.Len() == 0 {
		return "/", err
	}
	return b.String(), err
}
