package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newStatus is `sealift status`.
func newStatus() *cobra.Command {
	return newPage[statusAnswer](&cobra.Command{
		Use: "status", Short: "What is pushed, signed and installed, and why devices do not update",
	}, "/api/v1/status")
}

// findingAnswer is something the server noticed.
type findingAnswer struct {
	Code   string
	Level  string
	ECU    string
	Text   string
	Advice string
}

// marks are how urgent a finding is, at the beginning of its line.
var marks = map[string]string{"error": "[!!]", "warning": "[! ]", "hint": "[? ]", "waiting": "[..]", "ok": "[ok]"}

func (f findingAnswer) print(w io.Writer, indent string) {
	mark, ok := marks[f.Level]
	if !ok {
		mark = "[  ]"
	}
	text := f.Text
	if f.ECU != "" {
		text = shortSerial(f.ECU) + ": " + text
	}
	fmt.Fprintf(w, "%s%s %s\n", indent, mark, plain(text))
	if f.Advice != "" {
		fmt.Fprintf(w, "%s     -> %s\n", indent, plain(f.Advice))
	}
}

type documentAnswer struct {
	Version int
	Expires *time.Time
	Error   string
}

func (d documentAnswer) String() string {
	if d.Expires == nil {
		return "missing"
	}
	return fmt.Sprintf("%d until %s", d.Version, d.Expires.Local().Format(time.DateOnly))
}

type statusAnswer struct {
	Namespace string
	Time      time.Time
	Findings  []findingAnswer
	Commits   []struct {
		Refs        []string
		Level, Text string
	}
	Image struct {
		Root, Targets, Snapshot, Timestamp documentAnswer
		TargetCount                        int
		TUF                                tufAnswer
	}
	Director struct{ Root documentAnswer }
	Updates  []struct {
		UpdateID, Name string
		CreatedAt      *time.Time
		Packages       map[string]string
		Assignments    map[string]int
	}
	Devices struct {
		Total    int
		ByStatus map[string]int
		Listed   []struct {
			DeviceID, DeviceName, DeviceStatus string
			LastSeen                           *time.Time
			Findings                           []findingAnswer
		}
	}
}

func (st statusAnswer) print(w io.Writer) error {
	fmt.Fprintf(w, "namespace %s, %s\n\n", plain(st.Namespace), st.Time.Local().Format("2006-01-02 15:04:05 MST"))
	for _, f := range st.Findings {
		f.print(w, "")
	}
	if len(st.Findings) > 0 {
		fmt.Fprintln(w)
	}
	t := newTable(w, "METADATA", "ROOT", "TARGETS", "SNAPSHOT", "TIMESTAMP")
	t.row("image repository", st.Image.Root.String(), st.Image.Targets.String(), st.Image.Snapshot.String(), st.Image.Timestamp.String())
	t.row("director", st.Director.Root.String(), "one for each device", "", "")
	if err := t.end(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d signed targets%s\n", st.Image.TargetCount, st.Image.TUF.note())
	if len(st.Commits) > 0 {
		fmt.Fprintln(w, "\nCOMMITS")
	}
	for _, c := range st.Commits {
		text := c.Text
		if len(c.Refs) > 0 {
			text += " (" + strings.Join(c.Refs, ", ") + ")"
		}
		findingAnswer{Level: c.Level, Text: text}.print(w, "  ")
	}
	return st.printFleet(w)
}

func (st statusAnswer) printFleet(w io.Writer) error {
	if len(st.Updates) > 0 {
		fmt.Fprintln(w, "\nUPDATES")
		t := newTable(w, "  ID", "NAME", "CREATED", "IMAGES", "ASSIGNMENTS")
		for _, u := range st.Updates {
			t.row("  "+u.UpdateID, u.Name, when(u.CreatedAt), strings.Join(packages(u.Packages), ", "), counted(u.Assignments))
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nDEVICES (%d)  %s\n", st.Devices.Total, counted(st.Devices.ByStatus))
	for _, d := range st.Devices.Listed {
		seen := "never seen"
		if d.LastSeen != nil {
			seen = "last seen " + when(d.LastSeen)
		}
		fmt.Fprintf(w, "  %s  %s, %s\n", plain(d.DeviceID), plain(d.DeviceStatus), seen)
		for _, f := range d.Findings {
			f.print(w, "    ")
		}
	}
	if left := st.Devices.Total - len(st.Devices.Listed); left > 0 {
		fmt.Fprintf(w, "  and %d more; see sealift device list\n", left)
	}
	return nil
}

// packages lists what each hardware id gets.
func packages(byHardware map[string]string) []string {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(byHardware)) {
		list = append(list, id+"="+byHardware[id])
	}
	return list
}

// counted lists numbers that are not zero, by name.
func counted(numbers map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		if numbers[name] > 0 {
			list = append(list, fmt.Sprintf("%d %s", numbers[name], name))
		}
	}
	return strings.Join(list, ", ")
}
