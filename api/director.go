package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/director"
	"sealift/internal/web"
	"sealift/uptane"
)

// maxDirectorBody bounds the bodies of the Director's routes: a thousand
// device ids are 40 KB.
const maxDirectorBody = 256 << 10

// directorRoutes has every route under both prefixes clients know.
func (s *server) directorRoutes() []web.Route {
	var all []web.Route
	for _, prefix := range []string{"/api/v1", "/director/api/v1"} {
		for _, r := range append(append(s.ecuRoutes(), s.assignmentRoutes()...), s.updateRoutes()...) {
			r.Pattern = prefix + r.Pattern
			all = append(all, r)
		}
	}
	return all
}

func (s *server) ecuRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/admin/devices", Permission: access.DirectorRead, Handler: s.listECUDevices},
		{Method: http.MethodGet, Pattern: "/admin/devices/hardware_identifiers", Permission: access.DirectorRead, Handler: s.listHardwareIDs},
		{Method: http.MethodGet, Pattern: "/admin/devices/ecus", Permission: access.DirectorRead, Handler: s.listECUs},
		{Method: http.MethodPost, Pattern: "/admin/devices/list-installed-targets", Permission: access.DirectorRead, Handler: s.listInstalled},
		{Method: http.MethodGet, Pattern: "/admin/devices/:device", Permission: access.DirectorRead, Handler: s.getDeviceECUs},
		{Method: http.MethodGet, Pattern: "/admin/devices/:device/history", Permission: access.DirectorRead, Handler: s.getDeviceHistory},
		{Method: http.MethodPut, Pattern: "/admin/devices/:device/targets.json", Permission: access.DirectorWrite, Handler: s.renewTargets},
		{Method: http.MethodGet, Pattern: "/admin/devices/:device/ecus/:ecu/public_key", Permission: access.DirectorRead, Handler: s.getECUKey},
		{Method: http.MethodPut, Pattern: "/admin/devices/:device/ecus/:ecu/public_key", Permission: access.DirectorWrite, Handler: s.approveECUKey},
		{Method: http.MethodPost, Pattern: "/admin/images/installed_count", Permission: access.DirectorRead, Handler: s.countInstalled},
		{Method: http.MethodGet, Pattern: "/admin/repo/:filename", Permission: access.DirectorRead, Handler: s.getDirectorRoot},
	}
}

// listECUDevices answers bare ids, or with a hardware id of the Primary
// objects, as clients of either form expect.
func (s *server) listECUDevices(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	type device struct {
		ID        uptane.DeviceID  `json:"id"`
		OEMID     uptane.OEMID     `json:"deviceId"`
		Primary   uptane.ECUSerial `json:"primaryEcu"`
		CreatedAt time.Time        `json:"createdAt"`
	}
	hardware := c.Query("primaryHardwareId")
	list, total, err := s.director.Devices(c.Request.Context(), web.MustCaller(c).Namespace, uptane.HardwareID(hardware), page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	if hardware == "" {
		web.List(c, page, mapped(list, func(d director.Device) uptane.DeviceID { return d.ID }), total)
		return
	}
	web.List(c, page, mapped(list, func(d director.Device) device {
		return device{ID: d.ID, OEMID: d.OEMID, Primary: d.Primary, CreatedAt: d.CreatedAt.Truncate(time.Second)}
	}), total)
}

func (s *server) listHardwareIDs(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, total, err := s.director.HardwareIDs(c.Request.Context(), web.MustCaller(c).Namespace, page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, list, total)
}

// listECUs answers one object an ECU, each under its device's id.
func (s *server) listECUs(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	who := web.MustCaller(c)
	type ecu struct {
		Serial     uptane.ECUSerial  `json:"ecuSerial"`
		Device     uptane.DeviceID   `json:"deviceId"`
		Namespace  uptane.Namespace  `json:"namespace"`
		HardwareID uptane.HardwareID `json:"hardwareId"`
		Key        json.RawMessage   `json:"publicKey"`
		Installed  *string           `json:"installedTarget"`
		Primary    bool              `json:"primary"`
	}
	list, total, err := s.director.ECUs(c.Request.Context(), who.Namespace, page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, func(e director.ECU) map[uptane.DeviceID][]ecu {
		out := ecu{Serial: e.Serial, Device: e.Device, Namespace: who.Namespace, HardwareID: e.HardwareID, Key: e.Key, Primary: e.Primary}
		if e.Installed != nil {
			out.Installed = &e.Installed.Filename
		}
		return map[uptane.DeviceID][]ecu{e.Device: {out}}
	}), total)
}

func (s *server) listInstalled(c *gin.Context) {
	type installed struct {
		ECU        uptane.ECUSerial  `json:"ecuId"`
		Checksum   checksum          `json:"checksum"`
		Filename   string            `json:"filename"`
		HardwareID uptane.HardwareID `json:"hardwareId"`
		Primary    bool              `json:"isPrimary"`
	}
	var ids []uptane.DeviceID
	if err := web.DecodeJSON(c, maxDirectorBody, &ids); err != nil {
		web.Fail(c, err)
		return
	}
	if len(ids) > director.MaxAssign {
		web.Fail(c, web.ErrInvalid.Withf("at most %d devices at once", director.MaxAssign))
		return
	}
	values := map[uptane.DeviceID][]installed{}
	for _, id := range ids {
		values[id] = []installed{}
		_, ecus, err := s.director.Device(c.Request.Context(), web.MustCaller(c).Namespace, id)
		if err != nil && !isNotRegistered(err) {
			web.Fail(c, err)
			return
		}
		for _, e := range ecus {
			if e.Installed != nil {
				values[id] = append(values[id], installed{e.Serial, sha256Of(*e.Installed), e.Installed.Filename, e.HardwareID, e.Primary})
			}
		}
	}
	c.PureJSON(http.StatusOK, gin.H{"values": values})
}

// getDeviceECUs answers all ECUs of a device; image is null for one that has
// not reported.
func (s *server) getDeviceECUs(c *gin.Context) {
	type image struct {
		Filepath string            `json:"filepath"`
		Size     int64             `json:"size"`
		Hash     map[string]string `json:"hash"`
	}
	type ecu struct {
		Serial      uptane.ECUSerial  `json:"id"`
		HardwareID  uptane.HardwareID `json:"hardwareId"`
		Primary     bool              `json:"primary"`
		Image       *image            `json:"image"`
		InstalledAt *time.Time        `json:"installedAt"`
		KeyID       uptane.KeyID      `json:"keyId"`
		Attacks     string            `json:"attacksDetected"`
	}
	_, ecus, err := s.director.Device(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, mapped(ecus, func(e director.ECU) ecu {
		out := ecu{Serial: e.Serial, HardwareID: e.HardwareID, Primary: e.Primary, KeyID: e.KeyID, Attacks: e.Attacks, InstalledAt: instant(e.InstalledAt)}
		if e.Installed != nil {
			out.Image = &image{e.Installed.Filename, e.Installed.Length, map[string]string{"sha256": e.Installed.SHA256}}
		}
		return out
	}))
}

func (s *server) getDeviceHistory(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	type entry struct {
		At     time.Time       `json:"at"`
		Actor  string          `json:"actor"`
		Action string          `json:"action"`
		Detail json.RawMessage `json:"detail"`
	}
	list, err := s.director.History(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")), page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, func(e director.Entry) entry {
		return entry{e.At.UTC(), e.Actor, e.Action, e.Detail}
	}), "offset": page.Offset, "limit": page.Limit})
}

func (s *server) renewTargets(c *gin.Context) {
	if err := s.director.Renew(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device"))); err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusAccepted)
}

func (s *server) getECUKey(c *gin.Context) {
	_, ecus, err := s.director.Device(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")))
	if err != nil {
		web.Fail(c, err)
		return
	}
	for _, e := range ecus {
		if string(e.Serial) == c.Param("ecu") && e.Key != nil {
			web.Raw(c, "application/json", e.Key)
			return
		}
	}
	web.Fail(c, director.ErrUnknownKey.With(c.Param("ecu")))
}

// approveECUKey lets an ECU bring the public key with that id.
func (s *server) approveECUKey(c *gin.Context) {
	var body struct {
		KeyID uptane.KeyID `json:"keyId"`
	}
	err := web.DecodeJSON(c, maxDirectorBody, &body)
	if err == nil {
		device, serial := uptane.DeviceID(c.Param("device")), uptane.ECUSerial(c.Param("ecu"))
		err = s.director.ApproveKey(c.Request.Context(), web.MustCaller(c).Namespace, device, serial, body.KeyID)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func (s *server) countInstalled(c *gin.Context) {
	var body struct {
		Filepaths []string `json:"filepaths"`
	}
	err := web.DecodeJSON(c, maxDirectorBody, &body)
	if err == nil && len(body.Filepaths) > director.MaxAssign {
		err = web.ErrInvalid.Withf("at most %d files at once", director.MaxAssign)
	}
	var counts map[string]int
	if err == nil {
		counts, err = s.director.InstalledCount(c.Request.Context(), web.MustCaller(c).Namespace, body.Filepaths)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, counts)
}

func (s *server) getDirectorRoot(c *gin.Context) {
	role, version, err := uptane.ParseFilename(c.Param("filename"))
	if err != nil || role != uptane.RoleRoot {
		web.Fail(c, director.ErrNoMetadata)
		return
	}
	doc, err := s.director.Root(c.Request.Context(), web.MustCaller(c).Namespace, version)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/json", doc)
}

// checksum is the form in which clients of this family write a hash.
type checksum struct {
	Method string `json:"method"`
	Hash   string `json:"hash"`
}

func sha256Of(i director.Image) checksum { return checksum{"sha256", i.SHA256} }

func mapped[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

// instant is null in JSON where there is no time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// idList reads a comma-separated query parameter.
func idList(c *gin.Context, name string) []uptane.DeviceID {
	var ids []uptane.DeviceID
	for id := range strings.SplitSeq(c.Query(name), ",") {
		if id != "" {
			ids = append(ids, uptane.DeviceID(id))
		}
	}
	return ids
}
