package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/uptane"
)

// deviceRoutes are what services do together for one device. A :device is our
// id of it or its own name.
func (s *server) deviceRoutes() []web.Route {
	const prefix = "/api/v1/devices/:device"
	return []web.Route{
		{Method: http.MethodGet, Pattern: prefix + "/overview", Permission: access.RegistryRead, Handler: s.forDevice(s.getOverview)},
		{Method: http.MethodGet, Pattern: prefix + "/certificates", Permission: access.KeysRead, Handler: s.forDevice(s.getCertificates)},
		{Method: http.MethodPost, Pattern: prefix + "/reset", Permission: access.KeysWrite, Handler: s.forDevice(s.resetDevice)},
		{Method: http.MethodPost, Pattern: prefix + "/revoke", Permission: access.KeysWrite, Handler: s.forDevice(s.revokeDevice)},
	}
}

// resetDevice lets a board that was wiped come back under its name. The vault
// audits it and the Director notes it; each step may be repeated, so that a
// reset that broke off is sent again.
func (s *server) resetDevice(c *gin.Context, d registry.Device) {
	ctx := c.Request.Context()
	err := s.vault.ResetDevice(ctx, d.Namespace, d.ID)
	if err == nil {
		err = s.director.Reset(ctx, d.Namespace, d.ID)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// revokeDevice shuts a device out; the vault audits it.
func (s *server) revokeDevice(c *gin.Context, d registry.Device) {
	ctx := c.Request.Context()
	err := s.vault.RevokeDevice(ctx, d.Namespace, d.ID)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// wireCertificate is a client certificate of a device.
type wireCertificate struct {
	Fingerprint string     `json:"fingerprint"`
	Serial      string     `json:"serial"`
	Issuer      string     `json:"issuer"`
	Issued      *time.Time `json:"issuedAt"`
	NotBefore   *time.Time `json:"notBefore"`
	NotAfter    *time.Time `json:"notAfter"`
	Revoked     *time.Time `json:"revokedAt"`
}

func certificateOut(k keys.Certificate) wireCertificate {
	return wireCertificate{
		Fingerprint: k.Fingerprint, Serial: k.Serial, Issuer: k.Issuer, Issued: instant(k.Issued),
		NotBefore: instant(k.NotBefore), NotAfter: instant(k.NotAfter), Revoked: instant(k.Revoked),
	}
}

func (s *server) getCertificates(c *gin.Context, d registry.Device) {
	list, err := s.vault.Certificates(c.Request.Context(), d.Namespace, d.ID, c.Query("after"), maxDiagnosedCertificates)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, certificateOut)})
}

// overview is one device as its operator wants to see it.
type overview struct {
	Device      wireDevice       `json:"device"`
	Findings    []finding        `json:"findings"` // why it does not update, or what it runs
	ManifestAt  *time.Time       `json:"manifestAt"`
	ECUs        []overviewECU    `json:"ecus"` // the Primary first
	Assignments []assignmentJSON `json:"assignments"`
	Report      *wireHistory     `json:"lastReport"`
}

type overviewECU struct {
	Serial      uptane.ECUSerial  `json:"ecuSerial"`
	HardwareID  uptane.HardwareID `json:"hardwareId"`
	Primary     bool              `json:"primary"`
	Filename    *string           `json:"filename"` // null: it has not reported
	SHA256      *string           `json:"sha256"`
	Length      *int64            `json:"length"`
	InstalledAt *time.Time        `json:"installedAt"`
	KeyID       uptane.KeyID      `json:"keyId"`
}

func (s *server) getOverview(c *gin.Context, d registry.Device) {
	out, err := s.overview(c.Request.Context(), d)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, out)
}

func (s *server) overview(ctx context.Context, d registry.Device) (overview, error) {
	out := overview{Device: deviceOut(d)}
	targets, err := s.newestTargets(ctx, d.Namespace)
	if err != nil {
		return out, err
	}
	f, err := s.factsOf(ctx, d, targets.offer())
	if err != nil {
		return out, err
	}
	out.Findings, out.ManifestAt = f.diagnose(), instant(f.director.ManifestAt)
	out.Assignments = mapped(f.open, assignmentOf)
	out.ECUs = make([]overviewECU, len(f.ecus))
	for i, e := range f.ecus {
		ecu := overviewECU{Serial: e.Serial, HardwareID: e.HardwareID, Primary: e.Primary, InstalledAt: instant(e.InstalledAt), KeyID: e.KeyID}
		if e.Installed != nil {
			ecu.Filename, ecu.SHA256, ecu.Length = &e.Installed.Filename, &e.Installed.SHA256, &e.Installed.Length
		}
		out.ECUs[i] = ecu
	}
	history, _, err := s.registry.History(ctx, d.Namespace, d.ID, 0, maxDiagnosedEvents)
	for _, h := range history {
		if h.Kind == "report" {
			report := historyOut(d)(h)
			out.Report = &report
			break
		}
	}
	return out, err
}
