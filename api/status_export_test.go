package api

import (
	"time"

	"sealift/director"
	"sealift/keys"
	"sealift/registry"
	"sealift/uptane"
)

// Patient is what a test knows of a device that is to be diagnosed.
type Patient struct {
	Now          time.Time
	Device       registry.Device
	ManifestAt   time.Time
	ECUs         []director.ECU
	Open, Ended  []director.Assignment
	Events       []registry.Event
	Certificates []keys.Certificate
	Images       map[uptane.HardwareID]string
}

// Diagnose returns what is said of a device: levels, codes and texts.
func Diagnose(p Patient) [][3]string {
	f := facts{
		now: p.Now, device: p.Device, director: director.Device{ManifestAt: p.ManifestAt}, ecus: p.ECUs, open: p.Open,
		assignments: append(p.Open[:len(p.Open):len(p.Open)], p.Ended...), events: p.Events, certificates: p.Certificates,
		images: signedImages{newest: p.Images, whole: true},
	}
	return mapped(f.diagnose(), func(g finding) [3]string { return [3]string{string(g.Level), g.Code, g.Text} })
}
