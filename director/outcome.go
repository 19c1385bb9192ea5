package director

import (
	"slices"
	"strings"
	"time"

	"sealift/uptane"
)

// Status is how far an assignment has come.
type Status string

// The statuses. The first three are open: the ECU has something to do.
const (
	Assigned        Status = "assigned"         // the device does not know yet
	Offered         Status = "offered"          // the device's metadata list it
	NeedsCompletion Status = "needs_completion" // installed, running after a restart
	Installed       Status = "installed"
	Failed          Status = "failed"
	Cancelled       Status = "cancelled"
)

// What is kept of a device's words.
const (
	maxCode        = 255
	maxDescription = 2000
	maxFilename    = 4096
	maxRawReport   = 64 << 10
	maxSerial      = 64
)

// Result codes: of clients, and ours where no client said anything.
const (
	codeOK              = "OK"
	codeNeedsCompletion = "NEED_COMPLETION"
	codeOtherImage      = "IMAGE_MISMATCH"
)

func (a *assignmentRow) end(s Status, code, description string, now time.Time) {
	a.Status, a.Open, a.EndedAt = s, false, now.UnixMilli()
	a.Code, a.Description = storable(code, maxCode), storable(description, maxDescription)
}

// facts is what a manifest is judged by.
type facts struct {
	ecus        []ecuRow
	open        []assignmentRow
	report      *reportRow
	reportKnown bool
	listed      []string // open or ended assignments the report is about
}

// verdict is what a manifest changes.
type verdict struct {
	ecus        []ecuRow
	installed   []uptane.ECUReport
	assignments []assignmentRow
	report      *reportRow
	install     *uptane.InstallReport
	attacks     map[uptane.ECUSerial]string
}

func (v verdict) changesNothing() bool {
	return len(v.ecus) == 0 && len(v.assignments) == 0 && v.report == nil
}

// judge says what a verified manifest changes. What an ECU itself says it
// runs counts before what the Primary says about it.
func judge(now time.Time, f facts, m *uptane.Manifest) verdict {
	v := verdict{attacks: map[uptane.ECUSerial]string{}}
	runs := map[uptane.ECUSerial]ecuRow{}
	for _, r := range m.Reports {
		i := slices.IndexFunc(f.ecus, func(e ecuRow) bool { return e.Serial == r.Serial })
		if i < 0 {
			continue // registered away meanwhile
		}
		e := f.ecus[i]
		v.see(&e, r, now)
		runs[e.Serial] = e
	}
	for _, a := range f.open {
		before := a
		e, seen := runs[a.Serial]
		switch {
		case seen && a.runsOn(e):
			result := resultFor(a, f, m)
			if !result.Success { // the Primary may think otherwise
				result = uptane.Result{}
			}
			a.end(Installed, codeOr(result, codeOK), result.Description, now)
		case seen && e.Filename == a.Filename:
			a.end(Failed, codeOtherImage, "the ECU runs another image of the same name", now)
		case f.report != nil && slices.Contains(f.listed, a.ID):
			a.apply(resultFor(a, f, m), now)
		}
		if a != before {
			v.assignments = append(v.assignments, a)
		}
	}
	if f.report != nil && (!f.reportKnown || len(v.assignments) > 0) {
		v.report, v.install = f.report, m.Install
	}
	return v
}

// see takes one report into the row of its ECU.
func (v *verdict) see(e *ecuRow, r uptane.ECUReport, now time.Time) {
	before := *e
	name := storable(r.Filepath, maxFilename)
	if e.InstalledAt == 0 || e.Filename != name || e.SHA256 != r.SHA256 || e.Length != r.Length {
		e.Filename, e.SHA256, e.Length, e.InstalledAt = name, r.SHA256, r.Length, now.UnixMilli()
		r.Filepath, r.AttacksDetected = name, storable(r.AttacksDetected, maxDescription)
		v.installed = append(v.installed, r)
	}
	if attacks := storable(r.AttacksDetected, maxDescription); attacks != e.Attacks {
		e.Attacks = attacks
		if attacks != "" {
			v.attacks[e.Serial] = attacks
		}
	}
	if *e != before {
		v.ecus = append(v.ecus, *e)
	}
}

// runsOn reports whether an ECU runs exactly the assigned image.
func (a *assignmentRow) runsOn(e ecuRow) bool {
	image, err := storedImage(a.Filename, a.Target)
	return err == nil && e.Filename == a.Filename && e.SHA256 == image.SHA256
}

// apply ends an assignment by what the device reports. Installed but not yet
// running keeps it open; it is not offered again.
func (a *assignmentRow) apply(r uptane.Result, now time.Time) {
	switch {
	case needsCompletion(r.Code):
		a.Status, a.Code = NeedsCompletion, codeNeedsCompletion
		a.Description = storable(r.Description, maxDescription)
	case r.Success:
		a.end(Installed, codeOr(r, codeOK), r.Description, now)
	default:
		a.end(Failed, codeOr(r, "UNKNOWN"), r.Description, now)
	}
}

// resultFor is the ECU's own result, else the device's, of a report that is
// about the assignment; else the zero Result.
func resultFor(a assignmentRow, f facts, m *uptane.Manifest) uptane.Result {
	if m.Install == nil || !slices.Contains(f.listed, a.ID) {
		return uptane.Result{}
	}
	for _, item := range m.Install.Items {
		if item.ECU == a.Serial {
			return item.Result
		}
	}
	return m.Install.Result
}

func codeOr(r uptane.Result, code string) string {
	if r.Code == "" {
		return code
	}
	return r.Code
}

// needsCompletion also knows the device's form, HARDWAREID:CODE.
func needsCompletion(code string) bool {
	return code == codeNeedsCompletion || strings.HasSuffix(code, ":"+codeNeedsCompletion)
}
