package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/director"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/uptane"
)

var errCannotUpdate = fault.New(fault.Invalid, "device_cannot_be_updated", "no ECU of the device can get the update")

var errNoSchedule = fault.New(fault.Invalid, "update_schedule_error", "updates cannot be scheduled")

// maxDeviceUpdates is how many of a device's assignments, newest first, the
// lists of its updates are made from.
const maxDeviceUpdates = 1000

func (s *server) updateRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPost, Pattern: "/updates", Permission: access.DirectorWrite, Handler: s.postUpdate},
		{Method: http.MethodGet, Pattern: "/updates", Permission: access.DirectorRead, Handler: s.listUpdates},
		{Method: http.MethodGet, Pattern: "/updates/:update", Permission: access.DirectorRead, Handler: s.getUpdate},
		{Method: http.MethodPatch, Pattern: "/updates/:update", Permission: access.DirectorWrite, Handler: s.cancelUpdate},
		{Method: http.MethodGet, Pattern: "/updates/:update/devices", Permission: access.DirectorRead, Handler: s.listUpdateDevices},
		{Method: http.MethodPost, Pattern: "/updates/devices", Permission: access.DirectorWrite, Handler: s.postUpdate},
		{Method: http.MethodPost, Pattern: "/updates/devices/:device", Permission: access.DirectorWrite, Handler: s.postDeviceUpdate},
		{Method: http.MethodGet, Pattern: "/updates/devices/:device", Permission: access.DirectorRead, Handler: s.listDeviceUpdates},
		{Method: http.MethodGet, Pattern: "/updates/devices/:device/:update", Permission: access.DirectorRead, Handler: s.getDeviceUpdate},
		{Method: http.MethodPatch, Pattern: "/updates/devices/:device/:update", Permission: access.DirectorWrite, Handler: s.cancelDeviceUpdate},
	}
}

// updateRequest creates an update and assigns it. A target may be the file
// name alone.
type updateRequest struct {
	Name      string                                `json:"name"`
	Targets   map[uptane.HardwareID]json.RawMessage `json:"targets"`
	Devices   []uptane.DeviceID                     `json:"devices"`
	DryRun    bool                                  `json:"dryRun"`
	Scheduled *time.Time                            `json:"scheduledFor"`
}

func (r updateRequest) targets() (map[uptane.HardwareID]director.UpdateTarget, error) {
	changes := map[uptane.HardwareID]changeJSON{}
	for hw, raw := range r.Targets {
		var change changeJSON
		into := any(&change)
		if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '"' {
			into = &change.To.Target
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, web.ErrInvalid.Withf("target of hardware id %q: %v", hw, err)
		}
		changes[hw] = change
	}
	return updateTargets(changes)
}

// launch creates an update and assigns it to the devices of a request.
func (s *server) launch(c *gin.Context, r updateRequest) (director.Update, director.AssignResult, error) {
	var res director.AssignResult
	if r.Scheduled != nil {
		return director.Update{}, res, errNoSchedule
	}
	targets, err := r.targets()
	if err != nil {
		return director.Update{}, res, err
	}
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	u, err := s.director.CreateUpdate(ctx, ns, r.Name, targets)
	if err != nil {
		return u, res, err
	}
	res, err = s.director.Assign(ctx, ns, director.AssignRequest{Update: u.ID, Devices: r.Devices, DryRun: r.DryRun})
	return u, res, err
}

func (s *server) postUpdate(c *gin.Context) {
	var r updateRequest
	if err := web.DecodeLooseJSON(c, maxDirectorBody, &r); err != nil {
		web.Fail(c, err)
		return
	}
	u, res, err := s.launch(c, r)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusCreated, struct {
		ID          string `json:"updateId"`
		Correlation string `json:"correlationId"`
		outcome
	}{u.ID, u.Correlation, outcomeOf(res)})
}

// postDeviceUpdate answers the update's id. All ECUs that match must be able
// to get it.
func (s *server) postDeviceUpdate(c *gin.Context) {
	var r updateRequest
	if err := web.DecodeLooseJSON(c, maxDirectorBody, &r); err != nil {
		web.Fail(c, err)
		return
	}
	device := uptane.DeviceID(c.Param("device"))
	if _, _, err := s.director.Device(c.Request.Context(), web.MustCaller(c).Namespace, device); err != nil {
		web.Fail(c, err)
		return
	}
	r.Devices = []uptane.DeviceID{device}
	u, res, err := s.launch(c, r)
	if err == nil && len(res.Affected) == 0 {
		err = cannotUpdate(res.NotAffected[device])
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, u.ID)
}

// cannotUpdate says ECU by ECU why a device gets nothing.
func cannotUpdate(refused map[uptane.ECUSerial]*fault.Fault) error {
	var why []string
	for serial, f := range refused {
		why = append(why, string(serial)+": "+f.Code())
	}
	slices.Sort(why)
	return errCannotUpdate.With(strings.Join(why, "; "))
}

type updateJSON struct {
	ID          string                           `json:"updateId"`
	Name        string                           `json:"name"`
	Correlation string                           `json:"correlationId"`
	CreatedAt   time.Time                        `json:"createdAt"`
	CreatedBy   string                           `json:"createdBy"`
	Packages    map[uptane.HardwareID]string     `json:"packages"`
	Targets     map[uptane.HardwareID]changeJSON `json:"targets"`
	Counts      map[director.Status]int          `json:"assignments"`
}

func updateOf(u director.Update) updateJSON {
	out := updateJSON{
		ID: u.ID, Name: u.Name, Correlation: u.Correlation, CreatedAt: u.CreatedAt.UTC().Truncate(time.Second), CreatedBy: u.CreatedBy,
		Packages: map[uptane.HardwareID]string{}, Targets: changesOf(u), Counts: u.Counts,
	}
	for hw, t := range u.Targets {
		out.Packages[hw] = t.To.Filename
	}
	return out
}

func (s *server) listUpdates(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, total, err := s.director.Updates(c.Request.Context(), web.MustCaller(c).Namespace, page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, updateOf), total)
}

func (s *server) getUpdate(c *gin.Context) {
	u, err := s.director.Update(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("update"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, updateOf(u))
}

func (s *server) cancelUpdate(c *gin.Context) {
	if _, err := s.director.CancelUpdate(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("update"), forced(c)); err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

type assignmentJSON struct {
	Device      uptane.DeviceID   `json:"deviceId"`
	ECU         uptane.ECUSerial  `json:"ecu"`
	HardwareID  uptane.HardwareID `json:"hardwareId"`
	Update      string            `json:"updateId"`
	Correlation string            `json:"correlationId"`
	Filename    string            `json:"filename"`
	SHA256      string            `json:"sha256"`
	Status      director.Status   `json:"status"`
	Code        string            `json:"resultCode"`
	Description string            `json:"description"`
	CreatedAt   *time.Time        `json:"createdAt"`
	CreatedBy   string            `json:"createdBy"`
	OfferedAt   *time.Time        `json:"offeredAt"`
	EndedAt     *time.Time        `json:"endedAt"`
}

func assignmentOf(a director.Assignment) assignmentJSON {
	return assignmentJSON{
		Device: a.Device, ECU: a.Serial, HardwareID: a.HardwareID, Update: a.Update, Correlation: a.Correlation,
		Filename: a.Image.Filename, SHA256: a.Image.SHA256, Status: a.Status, Code: a.Code, Description: a.Description,
		CreatedAt: instant(a.CreatedAt), CreatedBy: a.CreatedBy, OfferedAt: instant(a.OfferedAt), EndedAt: instant(a.EndedAt),
	}
}

// listUpdateDevices answers the assignments of an update, by device.
func (s *server) listUpdateDevices(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, ns := c.Request.Context(), web.MustCaller(c).Namespace
	u, err := s.director.Update(ctx, ns, c.Param("update"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, err := s.director.UpdateAssignments(ctx, ns, u.ID, page.Limit, page.Offset)
	if err != nil {
		web.Fail(c, err)
		return
	}
	total := 0
	for _, n := range u.Counts {
		total += n
	}
	web.List(c, page, mapped(list, assignmentOf), total)
}

// deviceUpdate is what an update did on one device.
type deviceUpdate struct {
	ID          string                               `json:"updateId"`
	Status      string                               `json:"status"`
	CreatedAt   *time.Time                           `json:"createdAt"`
	Scheduled   *time.Time                           `json:"scheduledFor"`
	CompletedAt *time.Time                           `json:"completedAt"`
	Result      *resultJSON                          `json:"deviceResult"`
	Packages    map[uptane.HardwareID]string         `json:"packages"`
	ECUs        map[uptane.ECUSerial]ecuOutcome      `json:"ecuResults,omitempty"`
	States      map[uptane.ECUSerial]director.Status `json:"ecuStatus"`
}

type resultJSON struct {
	Code        string `json:"resultCode"`
	Success     bool   `json:"success"`
	Description string `json:"description"`
}

type ecuOutcome struct {
	HardwareID  uptane.HardwareID `json:"hardwareId"`
	ID          string            `json:"id"`
	Success     bool              `json:"success"`
	Description string            `json:"description"`
	Result      *resultJSON       `json:"result"`
}

// deviceUpdates groups assignments, newest first, by their update.
func deviceUpdates(list []director.Assignment) []deviceUpdate {
	var order []string
	groups := map[string][]director.Assignment{}
	for _, a := range list {
		if groups[a.Update] == nil {
			order = append(order, a.Update)
		}
		groups[a.Update] = append(groups[a.Update], a)
	}
	return mapped(order, func(id string) deviceUpdate { return deviceUpdateOf(groups[id]) })
}

// deviceUpdateOf sums up the assignments of one update on one device, newest
// first: of an ECU that got it several times the newest counts.
func deviceUpdateOf(list []director.Assignment) deviceUpdate {
	u := deviceUpdate{
		ID: list[0].Update, CreatedAt: instant(list[len(list)-1].CreatedAt), Packages: map[uptane.HardwareID]string{},
		ECUs: map[uptane.ECUSerial]ecuOutcome{}, States: map[uptane.ECUSerial]director.Status{},
	}
	count := map[director.Status]int{}
	result := resultJSON{Code: "OK", Success: true}
	var ended time.Time
	for _, a := range list {
		if _, newer := u.States[a.Serial]; newer {
			continue
		}
		u.States[a.Serial] = a.Status
		u.Packages[a.HardwareID] = a.Image.Filename
		count[a.Status]++
		if a.EndedAt.After(ended) {
			ended = a.EndedAt
		}
		if a.Status != director.Installed && a.Status != director.Failed {
			continue
		}
		r := resultJSON{a.Code, a.Status == director.Installed, a.Description}
		u.ECUs[a.Serial] = ecuOutcome{a.HardwareID, a.Image.Filename, r.Success, r.Description, &r}
		if !r.Success {
			result = r
		}
	}
	u.Status = updateStatus(count)
	if u.Status == "Completed" {
		u.Result, u.CompletedAt = &result, instant(ended)
	}
	return u
}

// updateStatus is in the words of clients of this family.
func updateStatus(count map[director.Status]int) string {
	open := count[director.Assigned] + count[director.Offered] + count[director.NeedsCompletion]
	done := count[director.Installed] + count[director.Failed]
	switch {
	case open > 0 && done > 0:
		return "PartiallyCompleted"
	case count[director.Offered]+count[director.NeedsCompletion] > 0:
		return "Seen"
	case open > 0:
		return "Assigned"
	case done > 0:
		return "Completed"
	}
	return "Cancelled"
}

func (s *server) deviceUpdates(c *gin.Context) ([]deviceUpdate, error) {
	list, err := s.director.Assignments(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")), maxDeviceUpdates, 0)
	return deviceUpdates(list), err
}

func (s *server) listDeviceUpdates(c *gin.Context) {
	page, err := web.PageOf(c)
	var all []deviceUpdate
	if err == nil {
		all, err = s.deviceUpdates(c)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	from := min(page.Offset, len(all))
	web.List(c, page, all[from:min(from+page.Limit, len(all))], len(all))
}

func (s *server) getDeviceUpdate(c *gin.Context) {
	all, err := s.deviceUpdates(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	i := slices.IndexFunc(all, func(u deviceUpdate) bool { return u.ID == c.Param("update") })
	if i < 0 {
		web.Fail(c, director.ErrUnknownUpdate.With(c.Param("update")))
		return
	}
	c.PureJSON(http.StatusOK, all[i])
}

func (s *server) cancelDeviceUpdate(c *gin.Context) {
	device := uptane.DeviceID(c.Param("device"))
	_, err := s.director.CancelOn(c.Request.Context(), web.MustCaller(c).Namespace, device, c.Param("update"), forced(c))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
