package api

import (
	"context"
	"slices"
	"time"

	"sealift/director"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/registry"
	"sealift/uptane"
)

// How much of a device's past a diagnosis looks at.
const (
	maxDiagnosedEvents       = 100
	maxDiagnosedAssignments  = 100
	maxDiagnosedCertificates = 100
)

// When patience ends.
const (
	// pollGrace is the longest usual time between two polls.
	pollGrace = 10 * time.Minute
	// silence makes a device that has nothing to do worth a look.
	silence = 24 * time.Hour
	// stall makes a download or installation worth a look.
	stall = time.Hour
	// certificateNotice is how long before its end a certificate is spoken of.
	certificateNotice = 30 * 24 * time.Hour
)

// facts is all that a device is diagnosed by.
type facts struct {
	now          time.Time
	device       registry.Device
	director     director.Device
	ecus         []director.ECU // none: it has not registered any
	open         []director.Assignment
	assignments  []director.Assignment // newest first
	events       []registry.Event      // newest first
	certificates []keys.Certificate
	images       signedImages
	moved        map[string]uptane.Role // of open assignments to a device with Secondaries: images of delegated roles
}

// signedImages is what the newest signed targets offer.
type signedImages struct {
	newest map[uptane.HardwareID]string // file name
	top    map[uptane.HardwareID]string // of the top level alone
	whole  bool                         // nothing older was left out
}

// suited is the newest image that an ECU can get: where there are Secondaries it
// is one of the top level.
func (f facts) suited(id uptane.HardwareID) (filename string, ok bool) {
	from := f.images.newest
	if len(f.ecus) > 1 {
		from = f.images.top
	}
	filename, ok = from[id]
	return filename, ok
}

// hardwareIDs lists the kinds of ECU there are images for.
func (i signedImages) hardwareIDs() []uptane.HardwareID {
	var ids []uptane.HardwareID
	for id := range i.newest {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// factsOf gathers what is known of a device: a fixed number of queries.
func (s *server) factsOf(ctx context.Context, d registry.Device, images signedImages) (facts, error) {
	f := facts{now: s.now(), device: d, images: images}
	var err error
	if f.director, f.ecus, err = s.director.Device(ctx, d.Namespace, d.ID); err != nil && !isNotRegistered(err) {
		return f, err
	}
	if f.open, err = s.director.Queue(ctx, d.Namespace, d.ID); err != nil {
		return f, err
	}
	if f.assignments, err = s.director.Assignments(ctx, d.Namespace, d.ID, maxDiagnosedAssignments, 0); err != nil {
		return f, err
	}
	if f.events, _, err = s.registry.Events(ctx, d.Namespace, d.ID, "", 0, maxDiagnosedEvents); err != nil {
		return f, err
	}
	if f.moved, err = s.movedImages(ctx, d.Namespace, f); err != nil {
		return f, err
	}
	f.certificates, err = s.vault.Certificates(ctx, d.Namespace, d.ID, "", maxDiagnosedCertificates)
	return f, err
}

// movedImages finds what was at the top level when it was assigned to a device with
// Secondaries, and is not now.
func (s *server) movedImages(ctx context.Context, ns uptane.Namespace, f facts) (map[string]uptane.Role, error) {
	moved := map[string]uptane.Role{}
	for _, a := range f.open {
		if _, asked := moved[a.Image.Filename]; asked || len(f.ecus) < 2 {
			continue
		}
		t, err := s.repo.Target(ctx, ns, a.Image.Filename)
		if err != nil && fault.Of(err) == nil {
			return nil, err
		}
		moved[a.Image.Filename] = t.Delegated
	}
	return moved, nil
}

// deviceLine is a device in the status: its name and what there is to say.
type deviceLine struct {
	ID       uptane.DeviceID `json:"uuid"`
	OEMID    uptane.OEMID    `json:"deviceId"`
	Name     string          `json:"deviceName"`
	Status   string          `json:"deviceStatus"`
	LastSeen *time.Time      `json:"lastSeen"`
	Findings []finding       `json:"findings"`
}

func (f facts) line() deviceLine {
	d := f.device
	return deviceLine{ID: d.ID, OEMID: d.OEMID, Name: d.Name, Status: d.Status, LastSeen: instant(d.LastSeen), Findings: f.diagnose()}
}

// attention says which devices the status looks at, the most interesting
// first.
func attention(now time.Time) []registry.Search {
	return []registry.Search{
		{Status: "Error"}, {Status: "UpdatePending"}, {Status: "Outdated"}, {Status: "NotSeen"},
		{Status: "UpToDate", NotSeenSince: now.Add(-silence)}, {Status: "UpToDate"},
	}
}

// deviceLines diagnoses at most limit devices, those that need attention
// first.
func (s *server) deviceLines(ctx context.Context, ns uptane.Namespace, images signedImages, limit int) ([]deviceLine, error) {
	lines := []deviceLine{}
	known := map[uptane.DeviceID]bool{}
	for _, search := range attention(s.now()) {
		if len(lines) >= limit {
			break
		}
		list, _, err := s.registry.Devices(ctx, ns, search, 0, limit)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if known[d.ID] || len(lines) >= limit {
				continue
			}
			known[d.ID] = true
			f, err := s.factsOf(ctx, d, images)
			if err != nil {
				return nil, err
			}
			lines = append(lines, f.line())
		}
	}
	slices.SortStableFunc(lines, func(a, b deviceLine) int { return b.Findings[0].urgency() - a.Findings[0].urgency() })
	return lines, nil
}

// deviceCounts says how many devices have each status.
func (s *server) deviceCounts(ctx context.Context, ns uptane.Namespace) (total int, byStatus map[string]int, err error) {
	byStatus = map[string]int{}
	one := web.Page{Limit: 1}
	for _, status := range []string{"NotSeen", "UpToDate", "Outdated", "UpdatePending", "Error"} {
		_, n, err := s.registry.Devices(ctx, ns, registry.Search{Status: status}, one.Offset, one.Limit)
		if err != nil {
			return 0, nil, err
		}
		byStatus[status] = n
	}
	_, total, err = s.registry.Devices(ctx, ns, registry.Search{}, one.Offset, one.Limit)
	return total, byStatus, err
}
