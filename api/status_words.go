package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sealift/director"
	"sealift/uptane"
)

// level says how urgent a finding is.
type level string

// The levels, the most urgent last.
const (
	levelOK      level = "ok"
	levelHint    level = "hint"    // nothing is wrong, somebody may act
	levelWaiting level = "waiting" // it goes on by itself
	levelWarning level = "warning"
	levelError   level = "error"
)

var levels = []level{levelOK, levelHint, levelWaiting, levelWarning, levelError}

// finding is something the server noticed, in words. Its code stays; its text
// is for people and may hold what a device said.
type finding struct {
	Code   string           `json:"code"`
	Level  level            `json:"level"`
	ECU    uptane.ECUSerial `json:"ecu,omitempty"`
	Text   string           `json:"text"`
	Advice string           `json:"advice,omitempty"` // what to do about it
	Since  *time.Time       `json:"since,omitempty"`
}

// byUrgency puts the most urgent findings first and keeps the order otherwise.
func byUrgency(list []finding) []finding {
	slices.SortStableFunc(list, func(a, b finding) int { return b.urgency() - a.urgency() })
	return list
}

func (f finding) urgency() int { return slices.Index(levels, f.Level) }

// since returns f with the moment it began.
func (f finding) since(t time.Time) finding {
	f.Since = instant(t)
	return f
}

// ago is how long before now something was, in one unit.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	if d < time.Second {
		return "just now"
	}
	return span(d) + " ago"
}

// span is a duration in one unit, rounded down.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// clock is a moment as people say it: with the day only where that is not today.
func clock(now, t time.Time) string {
	now, t = now.UTC(), t.UTC()
	switch {
	case now.Format(time.DateOnly) == t.Format(time.DateOnly):
		return t.Format("15:04 UTC")
	case now.Year() == t.Year():
		return t.Format("2 Jan 15:04 UTC")
	}
	return t.Format("2 Jan 2006 15:04 UTC")
}

// short is a checksum as people read it.
func short(sum string) string { return sum[:min(len(sum), 10)] }

// quoted lists hardware ids for a sentence, at most a few.
func quoted(ids []uptane.HardwareID) string {
	const most = 5
	list := make([]string, 0, most)
	for i, id := range ids {
		if i == most {
			list = append(list, fmt.Sprintf("%d more", len(ids)-most))
			break
		}
		list = append(list, fmt.Sprintf("%q", string(id)))
	}
	return strings.Join(list, ", ")
}

// runs names what an ECU runs.
func runs(e director.ECU) string {
	switch {
	case e.Installed == nil:
		return "has not said what it runs"
	case e.Installed.Filename == "" || e.Installed.Filename == "unknown":
		return "runs an image of unknown name (" + short(e.Installed.SHA256) + ")"
	}
	return "runs " + e.Installed.Filename
}
