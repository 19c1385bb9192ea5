package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jmoiron/sqlx"

	"sealift/access"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/uptane"
)

// Limits of what is told and taken at once after a backup was restored.
const (
	maxRecoveryBody = 128 << 10
	maxAdopted      = 1000
	maxUnregistered = 1000
	recoveryPage    = 500
)

// recoveryRoutes are for the time after a backup was restored.
func (s *server) recoveryRoutes() []web.Route {
	const path = "/api/v1/recovery"
	return []web.Route{
		{Method: http.MethodGet, Pattern: path, Permission: access.KeysRead, Handler: s.getRecovery},
		{Method: http.MethodGet, Pattern: path + "/certificates", Permission: access.KeysRead, Handler: s.getLostCertificates},
		{Method: http.MethodPost, Pattern: path + "/adopt", Permission: access.KeysWrite, Handler: s.postAdopt},
		{Method: http.MethodPost, Pattern: path + "/end", Permission: access.KeysWrite, Handler: s.postRecoveryEnd},
	}
}

// recoveryState is how a namespace stands after a backup was restored.
type recoveryState struct {
	Lasts        bool           `json:"lasts"`
	BackupAt     *time.Time     `json:"backupAt"`   // null: none was ever restored
	RestoredAt   *time.Time     `json:"restoredAt"` // null: none was ever restored
	EndedAt      *time.Time     `json:"endedAt"`
	Behind       []behind       `json:"behind"`       // repositories that serve nothing
	Certificates int            `json:"certificates"` // that wait to be adopted
	Unregistered []unregistered `json:"unregistered"` // devices whose ECUs are not known, at most a thousand
}

// behind is a role of which a newer version is known to exist.
type behind struct {
	Repository uptane.Repository `json:"repository"`
	Role       uptane.Role       `json:"role"`
	Here       int               `json:"here"`
	Exists     int               `json:"exists"`
	ShownBy    string            `json:"shownBy"`
}

// unregistered is a device that came after the restore and whose ECUs are not
// known.
type unregistered struct {
	ID       uptane.DeviceID `json:"uuid"`
	OEMID    uptane.OEMID    `json:"deviceId"`
	LastSeen *time.Time      `json:"lastSeen"`
}

func (s *server) getRecovery(c *gin.Context) {
	state, err := s.recovery(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, state)
}

func (s *server) recovery(ctx context.Context, ns uptane.Namespace) (recoveryState, error) {
	out := recoveryState{Behind: []behind{}, Unregistered: []unregistered{}}
	v, err := s.vault.Recovery(ctx, ns)
	if err != nil || v.RestoredAt.IsZero() {
		return out, err
	}
	out.Lasts, out.Certificates = v.Lasts(), v.Lost
	out.BackupAt, out.RestoredAt, out.EndedAt = instant(v.BackupAt), instant(v.RestoredAt), instant(v.EndedAt)
	for _, f := range v.Behind {
		out.Behind = append(out.Behind, behind{f.Repository, uptane.RoleRoot, f.Current, f.Version, f.ShownBy})
	}
	r, err := s.repo.Recovery(ctx, ns)
	if fault.Of(err) != nil { // no repository
		err = nil
	}
	if err == nil && r.Behind() {
		out.Behind = append(out.Behind, behind{uptane.ImageRepository, uptane.RoleTargets, r.Targets, r.TargetsFloor, r.ShownBy})
	}
	if err == nil && out.Lasts {
		out.Unregistered, err = s.unregistered(ctx, ns, v.RestoredAt)
	}
	return out, err
}

// unregistered lists the devices that were heard of since a time and whose ECUs
// the Director does not know.
func (s *server) unregistered(ctx context.Context, ns uptane.Namespace, since time.Time) ([]unregistered, error) {
	known := map[uptane.DeviceID]bool{}
	for offset := 0; ; offset += recoveryPage {
		list, total, err := s.director.Devices(ctx, ns, "", recoveryPage, offset)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			known[d.ID] = true
		}
		if offset+len(list) >= total {
			break
		}
	}
	out := []unregistered{}
	for offset := 0; len(out) < maxUnregistered; offset += recoveryPage {
		list, total, err := s.registry.Devices(ctx, ns, registry.Search{}, offset, recoveryPage)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !known[d.ID] && (d.LastSeen.After(since) || d.CreatedAt.After(since)) && len(out) < maxUnregistered {
				out = append(out, unregistered{d.ID, d.OEMID, instant(d.LastSeen)})
			}
		}
		if offset+len(list) >= total {
			break
		}
	}
	return out, nil
}

// lostCertificate is a certificate of our own device CA that is not in the table.
type lostCertificate struct {
	Fingerprint string       `json:"fingerprint"`
	OEMID       uptane.OEMID `json:"deviceId"`
	Serial      string       `json:"serial"`
	NotBefore   *time.Time   `json:"notBefore"`
	NotAfter    *time.Time   `json:"notAfter"`
	FirstSeen   *time.Time   `json:"firstSeen"`
	LastSeen    *time.Time   `json:"lastSeen"`
}

func (s *server) getLostCertificates(c *gin.Context) {
	list, err := s.vault.Lost(c.Request.Context(), web.MustCaller(c).Namespace, c.Query("after"), maxAdopted)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, func(l keys.Lost) lostCertificate {
		return lostCertificate{l.Fingerprint, l.OEMID, l.Serial, instant(l.NotBefore), instant(l.NotAfter), instant(l.FirstSeen), instant(l.LastSeen)}
	})})
}

// adopted is what became of one certificate.
type adopted struct {
	Fingerprint string          `json:"fingerprint"`
	ID          uptane.DeviceID `json:"uuid"`
	OEMID       uptane.OEMID    `json:"deviceId"`
	Registered  bool            `json:"ecusRegistered"`   // the ECUs are known; else they must be registered again
	Reason      string          `json:"reason,omitempty"` // why it was not adopted
}

// postAdopt lets devices in again whose certificates were issued after the
// backup was made. Each is judged on its own.
func (s *server) postAdopt(c *gin.Context) {
	var ask struct {
		Fingerprints []string `json:"fingerprints"`
	}
	ns, ctx := web.MustCaller(c).Namespace, c.Request.Context()
	err := web.DecodeJSON(c, maxRecoveryBody, &ask)
	if err == nil && (len(ask.Fingerprints) == 0 || len(ask.Fingerprints) > maxAdopted) {
		err = web.ErrInvalid.With(fmt.Sprintf("fingerprints: 1 to %d are expected", maxAdopted))
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	out := make([]adopted, len(ask.Fingerprints))
	for i, fingerprint := range ask.Fingerprints {
		if out[i], err = s.adopt(ctx, ns, fingerprint); err != nil {
			web.Fail(c, err)
			return
		}
	}
	c.PureJSON(http.StatusOK, gin.H{"values": out})
}

func (s *server) adopt(ctx context.Context, ns uptane.Namespace, fingerprint string) (adopted, error) {
	id, err := s.vault.Adopt(ctx, ns, fingerprint, func(ctx context.Context, tx *sqlx.Tx, oemid uptane.OEMID) (uptane.DeviceID, error) {
		return s.registry.Enter(ctx, tx, ns, oemid)
	})
	out := adopted{Fingerprint: fingerprint, ID: id.Device, OEMID: id.OEMID}
	if f := fault.Of(err); f != nil {
		out.Reason = f.Description()
		return out, nil
	}
	if err != nil {
		return out, err
	}
	_, _, err = s.director.Device(ctx, ns, id.Device)
	out.Registered = err == nil
	if fault.Of(err) != nil {
		err = nil
	}
	return out, err
}

func (s *server) postRecoveryEnd(c *gin.Context) {
	var ask struct {
		Anyway bool `json:"anyway"`
	}
	ns, ctx := web.MustCaller(c).Namespace, c.Request.Context()
	err := web.DecodeJSON(c, maxRecoveryBody, &ask)
	var roots keys.Recovery
	if err == nil {
		roots, err = s.vault.Recovery(ctx, ns)
	}
	if err == nil && (len(roots.Behind) == 0 || ask.Anyway) { // else the vault refuses, and nothing has ended
		err = s.repo.EndRecovery(ctx, ns, ask.Anyway)
	}
	if err == nil {
		err = s.vault.EndRecovery(ctx, ns, ask.Anyway)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// ofRecovery is about a backup that was restored.
func ofRecovery(st recoveryState) []finding {
	if !st.Lasts {
		return nil
	}
	var list []finding
	for _, b := range st.Behind {
		list = append(list, finding{Code: "repository_behind", Level: levelError,
			Text:   fmt.Sprintf("the %s repository serves nothing: %s version %d is here, %d exists (shown by %s)", b.Repository, b.Role, b.Here, b.Exists, b.ShownBy),
			Advice: "bring what was signed since the backup: garage-sign " + string(b.Role) + " push, from the folder that signed it"})
	}
	if st.Certificates > 0 {
		list = append(list, finding{Code: "certificates_lost", Level: levelWarning,
			Text:   fmt.Sprintf("%d devices came with certificates issued after the backup", st.Certificates),
			Advice: "look at them and let them in: sealift device adopt"})
	}
	if len(st.Unregistered) > 0 {
		list = append(list, finding{Code: "registrations_lost", Level: levelWarning,
			Text:   fmt.Sprintf("of %d devices the ECUs are not known since the backup was restored", len(st.Unregistered)),
			Advice: "they must register again: sealift recovery show says which, and how"})
	}
	return append(list, finding{Code: "in_recovery", Level: levelHint,
		Text:   fmt.Sprintf("a backup of %s was restored %s", st.BackupAt.UTC().Format("2 Jan 2006 15:04 UTC"), st.RestoredAt.UTC().Format("2 Jan 15:04 UTC")),
		Advice: "when all devices have come back: sealift recovery end"})
}
