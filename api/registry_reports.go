package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
	"sealift/registry"
	"sealift/uptane"
)

// maxEvents is how many events one answer has: the list is an array without
// pages where clients know it from, so that it is as long as a page may be.
const maxEvents = 1000

func (s *server) getPackages(c *gin.Context, d registry.Device) {
	page, err := web.PageOf(c)
	var list []registry.Package
	var total int
	if err == nil {
		list, total, err = s.registry.Packages(c.Request.Context(), d.Namespace, d.ID, c.Query("nameContains"), page.Offset, page.Limit)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	type installed struct {
		Device  uptane.DeviceID  `json:"device"`
		Package registry.Package `json:"packageId"`
	}
	web.List(c, page, mapped(list, func(p registry.Package) installed { return installed{d.ID, p} }), total)
}

// wireEvent is an event in the device's own words.
type wireEvent struct {
	Device     uptane.DeviceID `json:"deviceUuid"`
	ID         string          `json:"eventId"`
	Type       eventType       `json:"eventType"`
	DeviceTime time.Time       `json:"deviceTime"`
	ReceivedAt time.Time       `json:"receivedAt"`
	ECU        *string         `json:"ecu"`
	Payload    json.RawMessage `json:"payload"`
}

type eventType struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
}

// getEvents answers an array, newest first, of one update where correlationId
// is given.
func (s *server) getEvents(c *gin.Context, d registry.Device) {
	page := web.Page{Limit: maxEvents}
	var err error
	if c.Query("limit") != "" || c.Query("offset") != "" {
		page, err = web.PageOf(c)
	}
	var list []registry.Event
	if err == nil {
		list, _, err = s.registry.Events(c.Request.Context(), d.Namespace, d.ID, c.Query("correlationId"), page.Offset, page.Limit)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, mapped(list, func(e registry.Event) wireEvent {
		out := wireEvent{
			Device: d.ID, ID: e.ID, Type: eventType{e.Type, e.Version},
			DeviceTime: e.DeviceTime.UTC(), ReceivedAt: e.ReceivedAt.UTC(), Payload: json.RawMessage(e.Payload),
		}
		if e.ECU != "" {
			out.ECU = &e.ECU
		}
		return out
	}))
}

// wireHistory is one thing that happened to a device, as the Director learnt it.
type wireHistory struct {
	At          time.Time       `json:"eventTime"`
	Device      uptane.DeviceID `json:"deviceUuid"`
	Kind        string          `json:"kind"` // registered, installed or report
	ECU         *string         `json:"ecu"`
	Correlation *string         `json:"correlationId"`
	Detail      json.RawMessage `json:"detail"`
}

func historyOut(d registry.Device) func(registry.HistoryEntry) wireHistory {
	return func(h registry.HistoryEntry) wireHistory {
		out := wireHistory{At: h.At.UTC(), Device: d.ID, Kind: h.Kind, Detail: json.RawMessage(h.Detail)}
		if h.ECU != "" {
			out.ECU = &h.ECU
		}
		if h.Correlation != "" {
			out.Correlation = &h.Correlation
		}
		return out
	}
}

func (s *server) getInstallationHistory(c *gin.Context, d registry.Device) {
	page, err := web.PageOf(c)
	var list []registry.HistoryEntry
	var total int
	if err == nil {
		list, total, err = s.registry.History(c.Request.Context(), d.Namespace, d.ID, page.Offset, page.Limit)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, historyOut(d)), total)
}
