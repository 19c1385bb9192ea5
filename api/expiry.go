package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/repo"
	"sealift/uptane"
)

func (s *server) expiryRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/v1/expiry", Permission: access.RepoRead, Handler: s.getExpiry},
		{Method: http.MethodGet, Pattern: "/api/v1/policy", Permission: access.RepoRead, Handler: s.getPolicy},
		{Method: http.MethodPut, Pattern: "/api/v1/policy", Permission: access.KeysWrite, Handler: s.putPolicy},
	}
}

// forecast is the page of everything that ends.
type forecast struct {
	Namespace uptane.Namespace `json:"namespace"`
	Time      time.Time        `json:"time"`
	Things    []expiring       `json:"things"` // what people must act on first, by their end; then what the server renews
	Keys      []finding        `json:"keys"`   // that cannot be used, or should be replaced whatever their role's end
	Policy    policyJSON       `json:"policy"`
}

// expiring is something that ends.
type expiring struct {
	Thing   string    `json:"thing"` // its name for programs
	Name    string    `json:"name"`
	Version int       `json:"version,omitempty"`
	Expires time.Time `json:"expires"`
	Seconds int64     `json:"seconds"` // until then, negative since
	Online  bool      `json:"online"`  // the server renews it by itself
	Level   level     `json:"level"`
	Text    string    `json:"text"`
	Advice  string    `json:"advice,omitempty"` // what to do about it
	Told    []told    `json:"told,omitempty"`   // what was announced of this end, the first first

	namespace uptane.Namespace // "" of the server itself
}

// told is an announcement.
type told struct {
	Days int       `json:"days"` // the step; 0: it has ended
	At   time.Time `json:"at"`
}

// noticeDays are how many days ahead an end is announced, the last first.
var noticeDays = []int{0, 1, 7, 14, 30}

// step is which announcement is due, false if none is. What the server renews is
// worth one when that fails.
func (e expiring) step(now time.Time) (int, bool) {
	left := e.Expires.Sub(now)
	for _, days := range noticeDays {
		if days > 0 && e.Online && !strings.HasPrefix(e.Thing, "certificate/") {
			break // they live for a week
		}
		if left <= time.Duration(days)*24*time.Hour {
			return days, true
		}
	}
	return 0, false
}

func (s *server) getExpiry(c *gin.Context) {
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	out := forecast{Namespace: ns, Time: s.now().UTC().Truncate(time.Second)}
	things, err := s.expiring(ctx, ns)
	if err == nil {
		out.Things, err = s.withNotices(ctx, ns, things)
	}
	if err == nil {
		out.Policy, err = s.policy(ctx, ns)
	}
	var held []keys.Held
	if err == nil {
		held, err = s.vault.Custody(ctx, ns)
		out.Keys = append(append([]finding{}, ofImported(held)...), ofAway(s.vault.Unusable(held, false))...)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, out)
}

// expiring is everything of a namespace that ends, and what is the server's.
func (s *server) expiring(ctx context.Context, ns uptane.Namespace) ([]expiring, error) {
	own, err := s.expiringOf(ctx, ns)
	if err != nil {
		return nil, err
	}
	server, err := s.expiringOf(ctx, "")
	list := append(own, server...)
	slices.SortStableFunc(list, func(a, b expiring) int {
		if a.Online != b.Online {
			if b.Online {
				return -1
			}
			return 1
		}
		if by := a.Expires.Compare(b.Expires); by != 0 {
			return by
		}
		return strings.Compare(a.Thing, b.Thing)
	})
	return list, err
}

// expiringOf is what ends of a namespace alone; of the server for "".
func (s *server) expiringOf(ctx context.Context, ns uptane.Namespace) ([]expiring, error) {
	trust, err := s.vault.Endings(ctx, ns)
	if err != nil {
		return nil, err
	}
	var root time.Time
	list := mapped(trust, func(e keys.Ending) expiring {
		if e.Thing == "image/root" {
			root = e.Ends
		}
		return expiring{Thing: e.Thing, Name: e.Name, Version: e.Version, Expires: e.Ends, Online: e.Online}
	})
	if ns == "" {
		for listener, cert := range s.certificates {
			list = append(list, expiring{Thing: "certificate/" + listener, Name: "certificate of the " + listener + " " + cert.Subject.CommonName, Expires: cert.NotAfter})
		}
	} else {
		signed, err := s.repo.Endings(ctx, ns)
		if err != nil {
			return nil, err
		}
		list = append(list, mapped(signed, ofRepo)...)
		tokens, err := s.access.Endings(ctx, ns)
		if err != nil {
			return nil, err
		}
		list = append(list, mapped(tokens, func(t access.Token) expiring {
			return expiring{Thing: "token/" + t.ID, Name: fmt.Sprintf("API token %q", t.Name), Expires: t.Expires}
		})...)
	}
	now := s.now()
	for i := range list {
		list[i].namespace, list[i].Expires = ns, list[i].Expires.UTC().Truncate(time.Second)
		list[i].judge(now, root)
	}
	return list, nil
}

func ofRepo(e repo.Ending) expiring {
	thing := expiring{Thing: "image/" + string(e.Role), Name: string(e.Role) + " of the Image repository", Version: e.Version, Expires: e.Ends, Online: e.Online}
	if e.Role.Delegation() {
		thing.Thing, thing.Name = "image/delegation/"+string(e.Role), "targets of the delegated role "+string(e.Role)
	}
	return thing
}

// judge says how urgent it is and what to do; root is when the root of the Image
// repository ends, zero if there is none.
func (e *expiring) judge(now, root time.Time) {
	left := e.Expires.Sub(now)
	e.Seconds, e.Level = int64(left/time.Second), levelOK
	name := e.Name
	if e.Version > 0 {
		name += fmt.Sprintf(", version %d,", e.Version)
	}
	date := e.Expires.Format(time.DateOnly)
	switch days, due := e.step(now); {
	case left <= 0:
		e.Level, e.Text = levelError, fmt.Sprintf("%s ended %s, on %s", name, ago(now, e.Expires), date)
	case due && days <= 7:
		e.Level, e.Text = levelError, fmt.Sprintf("%s ends in %s, on %s", name, span(left), date)
	case due:
		e.Level, e.Text = levelWarning, fmt.Sprintf("%s ends in %s, on %s", name, span(left), date)
	default:
		e.Text = fmt.Sprintf("%s is good for %s, until %s", name, span(left), date)
	}
	if e.Level != levelOK {
		e.Advice = e.advice()
	}
	if !e.Online && strings.HasPrefix(e.Thing, "image/") && !root.IsZero() && e.Expires.After(root) {
		e.Text += "; its root ends before, on " + root.UTC().Format(time.DateOnly)
		if e.Level == levelOK {
			e.Level = levelHint
		}
	}
}

// advice is what people do about a thing that ends.
func (e *expiring) advice() string {
	family, rest, _ := strings.Cut(e.Thing, "/")
	switch {
	case rest == "root" && (family == "image" || family == "director"):
		return "sign a new root, offline: garage-sign root pull, root sign, root push; no device updates under one that has ended"
	case e.Online && family == "image":
		return "the server renews it as long as its root is good and it can sign; see its log"
	case e.Thing == "image/targets":
		return "sign them again with a later date: garage-sign targets pull, targets sign, targets push; no device installs anything after the end"
	case strings.HasPrefix(e.Thing, "image/delegation/"):
		return "whoever signs for this role signs again with a later date: garage-sign delegations pull, sign, push"
	case e.Thing == "ca/server":
		return "issue a new one from the offline root: sealift ca renew server; certificates of the server end with it"
	case e.Thing == "ca/server-root" || e.Thing == "ca/server-next":
		return "devices that trust no other root of the server are lost after the end; bring them the next one before"
	case strings.HasPrefix(e.Thing, "ca/own/"):
		return "let the next one in before the end: sealift ca add"
	case family == "ca":
		return "devices get no certificates after the end; issue a new one from the offline root: sealift ca renew device"
	case strings.HasPrefix(e.Thing, "certificate/bootstrap/"):
		return "new devices cannot provision themselves with it after the end; bake a new one into images"
	case family == "token":
		return "hand out a new one if it is still needed: sealift token create; then sealift token revoke " + rest
	case e.Thing == "certificate/api":
		return "renew what --api-cert names, and restart"
	case e.Thing == "certificate/gateway":
		return "renew what --gateway-cert names, with the CA that devices trust, and restart; no device connects after the end"
	}
	return "the server renews it as long as its CA is good; see its log"
}

// withNotices adds what was announced of each thing.
func (s *server) withNotices(ctx context.Context, ns uptane.Namespace, list []expiring) ([]expiring, error) {
	if len(list) == 0 {
		return []expiring{}, nil
	}
	from := slices.MinFunc(list, func(a, b expiring) int { return a.Expires.Compare(b.Expires) }).Expires
	type end struct {
		ns    uptane.Namespace
		thing string
		at    int64
	}
	found := map[end][]told{}
	for _, ns := range []uptane.Namespace{ns, ""} {
		notices, err := s.access.Notices(ctx, ns, from)
		if err != nil {
			return nil, err
		}
		for _, n := range notices {
			key := end{ns, n.Thing, n.Ends.UnixMilli()}
			found[key] = append(found[key], told{n.Days, n.Told.Truncate(time.Second)})
		}
	}
	for i, e := range list {
		list[i].Told = found[end{e.namespace, e.Thing, e.Expires.UnixMilli()}]
	}
	return list, nil
}
