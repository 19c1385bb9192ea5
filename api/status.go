package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/director"
	"sealift/internal/web"
	"sealift/uptane"
)

// How much the status looks at and shows. It costs the same on a fleet of any
// size but for the counts.
const (
	maxStatusDevices = 25
	maxStatusCommits = 5
	maxStatusUpdates = 5
	maxStatusTargets = 500
)

func (s *server) statusRoutes() []web.Route {
	return []web.Route{{Method: http.MethodGet, Pattern: "/api/v1/status", Permission: access.RegistryRead, Handler: s.getStatus}}
}

// status is what somebody who has just arrived wants to know.
type status struct {
	Namespace uptane.Namespace `json:"namespace"`
	Time      time.Time        `json:"time"`
	Findings  []finding        `json:"findings"` // about the server, the most urgent first
	Commits   []commitLine     `json:"commits"`  // the last pushed first
	Image     imageStatus      `json:"image"`
	Director  directorStatus   `json:"director"`
	Updates   []updateLine     `json:"updates"` // the newest first
	Devices   deviceStatus     `json:"devices"`
}

type deviceStatus struct {
	Total    int            `json:"total"`
	ByStatus map[string]int `json:"byStatus"`
	Listed   []deviceLine   `json:"listed"` // those that need attention first
}

func (s *server) getStatus(c *gin.Context) {
	out, err := s.status(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.PureJSON(http.StatusOK, out)
}

func (s *server) status(ctx context.Context, ns uptane.Namespace) (status, error) {
	out := status{Namespace: ns, Time: s.now().UTC().Truncate(time.Second)}
	items, err := s.newestTargets(ctx, ns)
	if err != nil {
		return out, err
	}
	if out.Commits, err = s.commitLines(ctx, ns, items); err != nil {
		return out, err
	}
	if out.Image, err = s.imageStatus(ctx, ns, items.total); err != nil {
		return out, err
	}
	if out.Director, err = s.directorStatus(ctx, ns); err != nil {
		return out, err
	}
	if out.Updates, err = s.updateLines(ctx, ns); err != nil {
		return out, err
	}
	if out.Devices.Total, out.Devices.ByStatus, err = s.deviceCounts(ctx, ns); err != nil {
		return out, err
	}
	if out.Devices.Listed, err = s.deviceLines(ctx, ns, items.offer(), maxStatusDevices); err != nil {
		return out, err
	}
	out.Findings, err = s.serverFindings(ctx, ns, out)
	return out, err
}

// updateLine is an update and how far it is.
type updateLine struct {
	ID        string                       `json:"updateId"`
	Name      string                       `json:"name"`
	CreatedAt *time.Time                   `json:"createdAt"`
	Packages  map[uptane.HardwareID]string `json:"packages"`
	Counts    map[director.Status]int      `json:"assignments"`
}

func (s *server) updateLines(ctx context.Context, ns uptane.Namespace) ([]updateLine, error) {
	list, _, err := s.director.Updates(ctx, ns, maxStatusUpdates, 0)
	return mapped(list, func(u director.Update) updateLine {
		line := updateLine{ID: u.ID, Name: u.Name, CreatedAt: instant(u.CreatedAt), Packages: map[uptane.HardwareID]string{}, Counts: u.Counts}
		for hw, t := range u.Targets {
			line.Packages[hw] = t.To.Filename
		}
		return line
	}), err
}
