package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/registry"
	"sealift/uptane"
)

// maxRegistryBody bounds the bodies of the registry's routes.
const maxRegistryBody = 64 << 10

// maxHardwareIDs is how many kinds of ECU one search may ask for.
const maxHardwareIDs = 100

// maxSilence is the longest silence one may search for: a century of hours.
const maxSilence = 100 * 366 * 24

// registryRoutes has every route under both prefixes clients know. A :device
// is our id of it or its own name.
func (s *server) registryRoutes() []web.Route {
	routes := []web.Route{
		{Method: http.MethodGet, Pattern: "/devices", Permission: access.RegistryRead, Handler: s.listDevices},
		{Method: http.MethodGet, Pattern: "/devices/:device", Permission: access.RegistryRead, Handler: s.forDevice(s.getDevice)},
		{Method: http.MethodPut, Pattern: "/devices/:device", Permission: access.RegistryWrite, Handler: s.forDevice(s.putDevice)},
		{Method: http.MethodPatch, Pattern: "/devices/:device", Permission: access.RegistryWrite, Handler: s.forDevice(s.patchDevice)},
		{Method: http.MethodGet, Pattern: "/devices/:device/system_info", Permission: access.RegistryRead, Handler: s.forDevice(s.getSystemInfo)},
		{Method: http.MethodGet, Pattern: "/devices/:device/system_info/network", Permission: access.RegistryRead, Handler: s.forDevice(s.getNetwork)},
		{Method: http.MethodGet, Pattern: "/devices/:device/system_info/config", Permission: access.RegistryRead, Handler: s.forDevice(s.getDeviceConfig)},
		{Method: http.MethodGet, Pattern: "/devices/:device/packages", Permission: access.RegistryRead, Handler: s.forDevice(s.getPackages)},
		{Method: http.MethodGet, Pattern: "/devices/:device/events", Permission: access.RegistryRead, Handler: s.forDevice(s.getEvents)},
		{Method: http.MethodGet, Pattern: "/devices/:device/installation_history", Permission: access.RegistryRead, Handler: s.forDevice(s.getInstallationHistory)},
	}
	var all []web.Route
	for _, prefix := range []string{"/api/v1", "/device-registry/api/v1"} {
		for _, r := range routes {
			r.Pattern = prefix + r.Pattern
			all = append(all, r)
		}
	}
	return all
}

// forDevice looks up the device of a route before its handler.
func (s *server) forDevice(handle func(*gin.Context, registry.Device)) gin.HandlerFunc {
	return func(c *gin.Context) {
		d, err := s.registry.Device(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("device"))
		if err != nil {
			web.Fail(c, err)
			return
		}
		handle(c, d)
	}
}

// wireDevice is a device as clients of this family know it; what this server
// does not keep has its value of rest.
type wireDevice struct {
	Namespace    uptane.Namespace  `json:"namespace"`
	ID           uptane.DeviceID   `json:"uuid"`
	Name         string            `json:"deviceName"`
	OEMID        uptane.OEMID      `json:"deviceId"`
	Type         string            `json:"deviceType"`
	LastSeen     *time.Time        `json:"lastSeen"`
	CreatedAt    *time.Time        `json:"createdAt"`
	ActivatedAt  *time.Time        `json:"activatedAt"`
	Status       string            `json:"deviceStatus"`
	Notes        *string           `json:"notes"`
	Hibernated   bool              `json:"hibernated"`
	MQTTLastSeen *time.Time        `json:"mqttLastSeen"`
	MQTTStatus   string            `json:"mqttStatus"`
	Attributes   map[string]string `json:"attributes"`
}

func deviceOut(d registry.Device) wireDevice {
	out := wireDevice{
		Namespace: d.Namespace, ID: d.ID, Name: d.Name, OEMID: d.OEMID, Type: "Other", Status: d.Status,
		LastSeen: instant(d.LastSeen), CreatedAt: instant(d.CreatedAt), ActivatedAt: instant(d.ActivatedAt),
		MQTTStatus: "NotSeen", Attributes: map[string]string{},
	}
	if d.Notes != "" {
		out.Notes = &d.Notes
	}
	return out
}

func (s *server) listDevices(c *gin.Context) {
	page, err := web.PageOf(c)
	var search registry.Search
	if err == nil {
		search, err = s.deviceSearch(c)
	}
	var list []registry.Device
	var total int
	if err == nil {
		list, total, err = s.registry.Devices(c.Request.Context(), web.MustCaller(c).Namespace, search, page.Offset, page.Limit)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, deviceOut), total)
}

// deviceSearch reads the query of a search. What it does not know would widen
// the answer unseen, so grouping and tags, which there are none of, are refused.
func (s *server) deviceSearch(c *gin.Context) (registry.Search, error) {
	search := registry.Search{NameContains: c.Query("nameContains"), OEMID: uptane.OEMID(c.Query("deviceId")), Status: c.Query("status")}
	for _, name := range []string{"groupId", "grouped", "groupType", "tags"} {
		if c.Query(name) != "" {
			return search, web.ErrInvalid.Withf("%s: there are no groups and tags of devices", name)
		}
	}
	for id := range strings.SplitSeq(c.Query("hardwareIds"), ",") {
		if id != "" {
			search.HardwareIDs = append(search.HardwareIDs, uptane.HardwareID(id))
		}
	}
	if len(search.HardwareIDs) > maxHardwareIDs {
		return search, web.ErrInvalid.Withf("hardwareIds: at most %d", maxHardwareIDs)
	}
	if text := c.Query("notSeenSinceHours"); text != "" {
		hours, err := strconv.Atoi(text)
		if err != nil || hours < 0 || hours > maxSilence {
			return search, web.ErrInvalid.Withf("notSeenSinceHours: a whole number from 0 to %d", maxSilence)
		}
		search.NotSeenSince = s.now().Add(-time.Duration(hours) * time.Hour)
	}
	return search, nil
}

func (s *server) getDevice(c *gin.Context, d registry.Device) {
	c.PureJSON(http.StatusOK, deviceOut(d))
}

// deviceChange is a new name and new notes; nil leaves what PATCH may leave.
type deviceChange struct {
	Name  *string `json:"deviceName"`
	Notes *string `json:"notes"`
}

// putDevice clears notes that are not given, as other servers of this family do.
func (s *server) putDevice(c *gin.Context, d registry.Device) {
	d.Notes = ""
	s.changeDevice(c, d)
}

func (s *server) patchDevice(c *gin.Context, d registry.Device) { s.changeDevice(c, d) }

func (s *server) changeDevice(c *gin.Context, d registry.Device) {
	var change deviceChange
	err := web.DecodeLooseJSON(c, maxRegistryBody, &change)
	if err == nil && change.Name == nil && (c.Request.Method == http.MethodPut || change.Notes == nil) {
		err = web.ErrInvalid.With("deviceName is missing")
	}
	if err == nil {
		if change.Name != nil {
			d.Name = *change.Name
		}
		if change.Notes != nil {
			d.Notes = *change.Notes
		}
		err = s.registry.SetDevice(c.Request.Context(), d.Namespace, d.ID, d.Name, d.Notes)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{})
}

func (s *server) getSystemInfo(c *gin.Context, d registry.Device) {
	doc, err := s.registry.SystemInfo(c.Request.Context(), d.Namespace, d.ID)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/json", []byte(doc.Body))
}

// getNetwork has null for what the device has not told.
func (s *server) getNetwork(c *gin.Context, d registry.Device) {
	doc, err := s.registry.NetworkInfo(c.Request.Context(), d.Namespace, d.ID)
	out := struct {
		Device   uptane.DeviceID `json:"deviceUuid"`
		Address  *string         `json:"local_ipv4"`
		MAC      *string         `json:"mac"`
		Hostname *string         `json:"hostname"`
	}{Device: d.ID}
	if err == nil {
		err = json.Unmarshal([]byte(doc.Body), &out)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	out.Device = d.ID
	c.PureJSON(http.StatusOK, out)
}

func (s *server) getDeviceConfig(c *gin.Context, d registry.Device) {
	doc, err := s.registry.Configuration(c.Request.Context(), d.Namespace, d.ID)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/toml", []byte(doc.Body))
}
