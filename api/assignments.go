package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"sealift/access"
	"sealift/director"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/uptane"
)

// forceHeader confirms that what devices have been told already is cancelled.
const forceHeader = "x-trx-force"

// maxQueues is how many devices one GET /assignments answers for.
const maxQueues = 50

func (s *server) assignmentRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodPost, Pattern: "/multi_target_updates", Permission: access.DirectorWrite, Handler: s.postMTU},
		{Method: http.MethodGet, Pattern: "/multi_target_updates/:update", Permission: access.DirectorRead, Handler: s.getMTU},
		{Method: http.MethodPost, Pattern: "/assignments", Permission: access.DirectorWrite, Handler: s.postAssignments},
		{Method: http.MethodGet, Pattern: "/assignments", Permission: access.DirectorRead, Handler: s.getQueues},
		{Method: http.MethodPatch, Pattern: "/assignments", Permission: access.DirectorWrite, Handler: s.cancelUntold},
		{Method: http.MethodGet, Pattern: "/assignments/devices", Permission: access.DirectorRead, Handler: s.getAffected},
		{Method: http.MethodGet, Pattern: "/assignments/:device", Permission: access.DirectorRead, Handler: s.getQueue},
		{Method: http.MethodPatch, Pattern: "/assignments/:device", Permission: access.DirectorWrite, Handler: s.cancelDevice},
		{Method: http.MethodDelete, Pattern: "/assignments/:device", Permission: access.DirectorWrite, Handler: s.cancelDevice},
		{Method: http.MethodPut, Pattern: "/admin/devices/:device/multi_target_update/:update", Permission: access.DirectorWrite, Handler: s.putDeviceMTU},
	}
}

// imageJSON is an image as updates of this family name it.
type imageJSON struct {
	Target   string    `json:"target"`
	Checksum *checksum `json:"checksum,omitempty"`
	Length   int64     `json:"targetLength"`
	URI      *string   `json:"uri"`
}

type changeJSON struct {
	From *imageJSON `json:"from,omitempty"`
	To   imageJSON  `json:"to"`
}

func (i imageJSON) image() (director.Image, error) {
	image := director.Image{Filename: i.Target, Length: i.Length}
	if i.Checksum != nil {
		if i.Checksum.Method != "sha256" || i.Checksum.Hash == "" {
			return image, web.ErrInvalid.Withf("checksum of %q must be sha256", i.Target)
		}
		image.SHA256 = i.Checksum.Hash
	}
	return image, nil
}

func updateTargets(changes map[uptane.HardwareID]changeJSON) (map[uptane.HardwareID]director.UpdateTarget, error) {
	targets := map[uptane.HardwareID]director.UpdateTarget{}
	for hw, change := range changes {
		to, err := change.To.image()
		if err != nil {
			return nil, err
		}
		t := director.UpdateTarget{To: to}
		if change.To.URI != nil {
			t.URI = *change.To.URI
		}
		if change.From != nil {
			from, err := change.From.image()
			if err != nil {
				return nil, err
			}
			t.From = &from
		}
		targets[hw] = t
	}
	return targets, nil
}

func changesOf(u director.Update) map[uptane.HardwareID]changeJSON {
	out := map[uptane.HardwareID]changeJSON{}
	for hw, t := range u.Targets {
		sum := sha256Of(t.To)
		change := changeJSON{To: imageJSON{Target: t.To.Filename, Checksum: &sum, Length: t.To.Length}}
		if t.URI != "" {
			change.To.URI = &t.URI
		}
		if t.From != nil {
			change.From = &imageJSON{Target: t.From.Filename, Length: t.From.Length}
			if t.From.SHA256 != "" {
				from := sha256Of(*t.From)
				change.From.Checksum = &from
			}
		}
		out[hw] = change
	}
	return out
}

// postMTU ignores members it does not know: clients send many.
func (s *server) postMTU(c *gin.Context) {
	var body struct {
		Targets map[uptane.HardwareID]changeJSON `json:"targets"`
	}
	err := web.DecodeLooseJSON(c, maxDirectorBody, &body)
	var targets map[uptane.HardwareID]director.UpdateTarget
	if err == nil {
		targets, err = updateTargets(body.Targets)
	}
	var u director.Update
	if err == nil {
		u, err = s.director.CreateUpdate(c.Request.Context(), web.MustCaller(c).Namespace, "", targets)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusCreated, u.ID)
}

func (s *server) getMTU(c *gin.Context) {
	u, err := s.director.Update(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("update"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, changesOf(u))
}

// outcome is what became of an assignment request.
type outcome struct {
	Affected    []uptane.DeviceID                                       `json:"affected"`
	NotAffected map[uptane.DeviceID]map[uptane.ECUSerial]ecuRefusalJSON `json:"notAffected"`
	Warnings    []finding                                               `json:"warnings,omitempty"`
}

type ecuRefusalJSON struct {
	Code        string  `json:"code"`
	Description string  `json:"description"`
	Cause       *string `json:"cause"`
	ErrorID     string  `json:"errorId"`
}

func outcomeOf(r director.AssignResult) outcome {
	out := outcome{Affected: r.Affected, NotAffected: map[uptane.DeviceID]map[uptane.ECUSerial]ecuRefusalJSON{}}
	if out.Affected == nil {
		out.Affected = []uptane.DeviceID{}
	}
	if !r.Until.IsZero() {
		out.Warnings = []finding{{Code: "targets_expiring", Level: levelWarning,
			Text:   "the offline-signed metadata that list the images end on " + r.Until.UTC().Format(time.RFC3339) + ": devices that come later refuse the update",
			Advice: "sign them again with a later date: garage-sign targets pull, targets sign, targets push"}}
	}
	for device, ecus := range r.NotAffected {
		out.NotAffected[device] = map[uptane.ECUSerial]ecuRefusalJSON{}
		for serial, f := range ecus {
			out.NotAffected[device][serial] = refusalOf(f)
		}
	}
	return out
}

func refusalOf(f *fault.Fault) ecuRefusalJSON {
	r := ecuRefusalJSON{Code: f.Code(), Description: f.Description(), ErrorID: uuid.NewString()}
	if cause := f.Cause(); cause != "" {
		r.Cause = &cause
	}
	return r
}

func (s *server) postAssignments(c *gin.Context) {
	var body struct {
		Correlation string            `json:"correlationId"`
		Devices     []uptane.DeviceID `json:"devices"`
		Update      string            `json:"mtuId"`
		DryRun      bool              `json:"dryRun"`
	}
	if err := web.DecodeLooseJSON(c, maxDirectorBody, &body); err != nil {
		web.Fail(c, err)
		return
	}
	res, err := s.director.Assign(c.Request.Context(), web.MustCaller(c).Namespace, director.AssignRequest{
		Update: body.Update, Devices: body.Devices, Correlation: body.Correlation, DryRun: body.DryRun,
	})
	if err != nil {
		web.Fail(c, err)
		return
	}
	out := outcomeOf(res)
	switch {
	case body.DryRun:
		c.PureJSON(http.StatusOK, out.Affected)
	case len(out.Affected) > 0:
		c.PureJSON(http.StatusCreated, out)
	case len(out.NotAffected) > 0:
		c.PureJSON(http.StatusBadRequest, out)
	default:
		c.PureJSON(http.StatusOK, out)
	}
}

func (s *server) getAffected(c *gin.Context) {
	res, err := s.director.Assign(c.Request.Context(), web.MustCaller(c).Namespace, director.AssignRequest{
		Update: c.Query("targetSpecId"), Devices: idList(c, "ids"), DryRun: true,
	})
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, outcomeOf(res).Affected)
}

func (s *server) putDeviceMTU(c *gin.Context) {
	device := uptane.DeviceID(c.Param("device"))
	res, err := s.director.Assign(c.Request.Context(), web.MustCaller(c).Namespace, director.AssignRequest{
		Update: c.Param("update"), Devices: []uptane.DeviceID{device},
	})
	if err == nil && len(res.Affected) == 0 {
		err = cannotUpdate(res.NotAffected[device])
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

// queueItem is the open assignments of a device that belong together.
type queueItem struct {
	Correlation string                           `json:"correlationId"`
	Update      string                           `json:"updateId"`
	Targets     map[uptane.ECUSerial]queueTarget `json:"targets"`
	InFlight    bool                             `json:"inFlight"`
}

type queueTarget struct {
	Image     queueImage      `json:"image"`
	URI       *string         `json:"uri"`
	CreatedAt time.Time       `json:"createdAt"`
	Status    director.Status `json:"status"`
}

type queueImage struct {
	Filepath string    `json:"filepath"`
	Fileinfo queueFile `json:"fileinfo"`
}

type queueFile struct {
	Hashes map[string]string `json:"hashes"`
	Length int64             `json:"length"`
}

func queueOf(list []director.Assignment) []queueItem {
	items := []queueItem{}
	at := map[[2]string]int{}
	for _, a := range list {
		key := [2]string{a.Correlation, a.Update}
		i, ok := at[key]
		if !ok {
			i, at[key] = len(items), len(items)
			items = append(items, queueItem{Correlation: a.Correlation, Update: a.Update, Targets: map[uptane.ECUSerial]queueTarget{}})
		}
		t := queueTarget{
			Image:     queueImage{a.Image.Filename, queueFile{map[string]string{"sha256": a.Image.SHA256}, a.Image.Length}},
			CreatedAt: a.CreatedAt.Truncate(time.Second), Status: a.Status,
		}
		if a.URI != "" {
			t.URI = &a.URI
		}
		items[i].Targets[a.Serial] = t
		items[i].InFlight = items[i].InFlight || a.Status != director.Assigned
	}
	return items
}

func (s *server) getQueue(c *gin.Context) {
	list, err := s.director.Queue(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, queueOf(list))
}

func (s *server) getQueues(c *gin.Context) {
	ids := idList(c, "ids")
	if len(ids) > maxQueues {
		web.Fail(c, web.ErrInvalid.Withf("at most %d ids at once", maxQueues))
		return
	}
	queues := map[uptane.DeviceID][]queueItem{}
	for _, id := range ids {
		list, err := s.director.Queue(c.Request.Context(), web.MustCaller(c).Namespace, id)
		if err != nil {
			web.Fail(c, err)
			return
		}
		queues[id] = queueOf(list)
	}
	c.PureJSON(http.StatusOK, queues)
}

// cancelUntold cancels what these devices do not know of yet.
func (s *server) cancelUntold(c *gin.Context) {
	var ids []uptane.DeviceID
	err := web.DecodeJSON(c, maxDirectorBody, &ids)
	if err == nil && len(ids) > director.MaxAssign {
		err = web.ErrInvalid.Withf("at most %d devices at once", director.MaxAssign)
	}
	done := []uptane.DeviceID{}
	for i := 0; err == nil && i < len(ids); i++ {
		var ended []director.Assignment
		ended, err = s.director.CancelUntold(c.Request.Context(), web.MustCaller(c).Namespace, ids[i])
		if isNotRegistered(err) {
			err = nil
		}
		if len(ended) > 0 {
			done = append(done, ids[i])
		}
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, done)
}

func (s *server) cancelDevice(c *gin.Context) {
	_, err := s.director.Cancel(c.Request.Context(), web.MustCaller(c).Namespace, uptane.DeviceID(c.Param("device")), forced(c))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func forced(c *gin.Context) bool { return c.GetHeader(forceHeader) == "true" }

func isNotRegistered(err error) bool { return errors.Is(err, director.ErrNotRegistered) }
