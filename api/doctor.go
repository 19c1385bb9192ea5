package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
)

// How little room on the disk is worth a word, in parts of it and in bytes.
const (
	lowDisk   = 5  // a fifth
	fullDisk  = 20 // a twentieth
	leastDisk = 1 << 30
)

func (s *server) doctorRoutes() []web.Route {
	return []web.Route{{Method: http.MethodGet, Pattern: "/api/v1/doctor", Permission: access.KeysRead, Handler: s.getDoctor}}
}

// checkup is what an operator should look at.
type checkup struct {
	Namespace uptane.Namespace `json:"namespace"`
	Time      time.Time        `json:"time"`
	Checks    []finding        `json:"checks"` // the most urgent first; what is well is there, too
}

func (s *server) getDoctor(c *gin.Context) {
	ns := web.MustCaller(c).Namespace
	checks, err := s.checks(c.Request.Context(), ns)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, checkup{ns, s.now().UTC().Truncate(time.Second), byUrgency(checks)})
}

func (s *server) checks(ctx context.Context, ns uptane.Namespace) ([]finding, error) {
	things, err := s.expiring(ctx, ns)
	if err != nil {
		return nil, err
	}
	held, err := s.vault.Custody(ctx, ns)
	if err != nil {
		return nil, err
	}
	image, err := s.imageStatus(ctx, ns, 0)
	if err != nil {
		return nil, err
	}
	restored, err := s.recovery(ctx, ns)
	if err != nil {
		return nil, err
	}
	shared, err := s.ofBootstraps(ctx, ns)
	if err != nil {
		return nil, err
	}
	return slices.Concat(
		ofEnds(things),
		ofCustody(held),
		orWell(ofAway(s.vault.Unusable(held, true)), "signing_keys", "the server can use every key that it signs with"),
		orWell(ofTrust(image), "targets_trusted", "the signed targets are signed by the keys of the root"),
		orWell(ofTUF(image.TUF), "tuf", tufWords(image.TUF)),
		orWell(ofSizes(image.walls), "sizes", "all metadata are small enough for devices"),
		orWell(append(ofRecovery(restored), s.ofStrangers(restored.Lasts)...), "certificates", "no certificate came that this server did not issue"),
		orWell(shared, "shared_certificate", "new devices can provision themselves"),
		s.ofDisk(),
		[]finding{{Code: "trust_on_first_use", Level: levelHint, Text: "the server cannot see whether devices have their first roots from their image",
			Advice: "bake import/repo/root.json and import/director/root.json, which init leaves beside device.zip, into images; a device without them trusts what it is shown first"}},
	), nil
}

// orWell says that all is well where nothing was found.
func orWell(found []finding, code, text string) []finding {
	if len(found) > 0 {
		return found
	}
	return []finding{{Code: code, Level: levelOK, Text: text}}
}

func tufWords(t tufState) string {
	if t.Enabled {
		return "TUF clients see what devices see"
	}
	return "TUF is off"
}

// ofEnds is about what ends soon.
func ofEnds(things []expiring) []finding {
	var list []finding
	for _, e := range things {
		if e.Level != levelOK {
			list = append(list, finding{Code: "ends:" + e.Thing, Level: e.Level, Text: e.Text, Advice: e.Advice})
		}
	}
	return orWell(list, "ends", "nothing ends within 30 days: see sealift expiry")
}

// ofCustody is about private keys that should not be here, or not be only here.
func ofCustody(held []keys.Held) []finding {
	var list []finding
	for _, h := range held {
		offline := h.Role == uptane.RoleRoot || h.Repository == uptane.ImageRepository && h.Role == uptane.RoleTargets
		if offline && h.Place != keys.PlaceOffline {
			list = append(list, finding{Code: "offline_key_online", Level: levelError,
				Text:   fmt.Sprintf("the server holds a private key of %s of the %s repository, %s: whoever breaks in can sign any image", h.Role, h.Repository, short(string(h.Key.ID()))),
				Advice: "rotate the role to a key that is kept offline"})
		}
	}
	return append(orWell(list, "offline_keys", "root and image targets keys are offline"), ofImported(held)...)
}

// ofImported is about what another server left: private keys that it had, too, and
// a key that has two roles.
func ofImported(held []keys.Held) []finding {
	var list []finding
	roots := map[uptane.KeyID]bool{}
	for _, h := range held {
		if id := h.Key.ID(); h.Role == uptane.RoleRoot {
			roots[id] = true
		} else if roots[id] {
			list = append(list, finding{Code: "shared_key", Level: levelError,
				Text:   fmt.Sprintf("one key, %s, is of root and of %s of the %s repository: whoever releases can replace every key", short(string(id)), h.Role, h.Repository),
				Advice: "rotate it: sealift root rotate"})
		}
		if !h.Imported.IsZero() {
			list = append(list, finding{Code: "imported_key", Level: levelError,
				Text:   fmt.Sprintf("the key of %s of the %s repository, %s, came from another server, where copies may be left", h.Role, h.Repository, short(string(h.Key.ID()))),
				Advice: "rotate it: sealift root rotate"}.since(h.Imported))
		}
	}
	return list
}

// ofAway is about online keys in tokens and key services that do not sign now. What is
// signed already is served until it ends.
func ofAway(list []keys.Unusable) []finding {
	return mapped(list, func(u keys.Unusable) finding {
		return finding{Code: "signing_key_unavailable", Level: levelError,
			Text: fmt.Sprintf("the server cannot sign as %s of the %s repository: its key %s is at %s: %v",
				u.Role, u.Repository, short(string(u.Key.ID())), u.Place, u.Err),
			Advice: fmt.Sprintf("nothing new is published until it can: see to the token or key service, or give the role another key: sealift root rotate --role %s --repository %s", u.Role, u.Repository),
		}.since(u.Since)
	})
}

// ofDisk is about the room for what is pushed.
func (s *server) ofDisk() []finding {
	if s.disk == nil {
		return []finding{{Code: "disk", Level: levelOK, Text: "database and objects are not on this machine's disk"}}
	}
	free, total, err := s.disk()
	f := finding{Code: "disk", Level: levelOK, Text: fmt.Sprintf("%d of %d MiB of the disk are free", free>>20, total>>20)}
	switch {
	case err != nil:
		s.log.Warn("measuring the disk failed", "error", err)
		return []finding{{Code: "disk", Level: levelWarning, Text: "the disk could not be measured: see the log"}}
	case free < max(total/fullDisk, leastDisk):
		f.Level, f.Advice = levelError, "make room: pushes are refused when it is full"
	case free < total/lowDisk:
		f.Level, f.Advice = levelWarning, "make room before it is full"
	}
	return []finding{f}
}
