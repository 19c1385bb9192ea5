package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"sealift/fixtures/device"
	"sealift/internal/credentials"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// What the demo's devices are made of and get.
const (
	demoBoard    uptane.HardwareID = "demo-board"
	demoSensor   uptane.HardwareID = "demo-sensor"
	demoOS                         = "demo-os"
	demoFirmware                   = "sensor-firmware"
)

// trial is a simulated device of the demo and what it is to run in the end.
type trial struct {
	*device.Device
	what    string // what is special about it
	objects *ostree.Dir
	want    map[uptane.ECUSerial]device.Image
	steps   []device.Step
}

// fleet makes three devices: two left the factory with the first version, one
// of them with two Secondaries; the third is blank and has both roots pinned.
func fleet(ctx context.Context, g *stage, b demoBuild) ([]*trial, error) {
	archive, err := credentials.Open(g.path("sealift-out", "device.zip"))
	if err != nil {
		return nil, err
	}
	imageRoot, directorRoot, err := readPins(g.path("sealift-out", "import"))
	if err != nil {
		return nil, err
	}
	factory := device.Image{Filename: demoOS + "-1", SHA256: b.commits[0].String(), OSTree: true}
	sensor := device.ECU{HardwareID: demoSensor}
	all := []*trial{{what: "factory image, release 1"}, {what: "factory image, two Secondaries"}, {what: "blank, both roots pinned"}}
	for i, t := range all {
		name := fmt.Sprint("truck-", i+1)
		cfg := device.Config{Archive: archive, OEMID: uptane.OEMID(name), Dir: g.path("devices", name), Primary: device.ECU{HardwareID: demoBoard},
			Observer: func(s device.Step) { t.steps = append(t.steps, s) }}
		if t.objects, err = ostree.InitDir(g.path("devices", name+"-ostree")); err != nil {
			return nil, err
		}
		cfg.Objects = t.objects
		if i == 1 {
			cfg.Secondaries = []device.ECU{sensor, sensor}
		}
		if i == 2 {
			cfg.ImageRoot, cfg.DirectorRoot = imageRoot, directorRoot
		} else {
			cfg.Primary.Image = factory
			if _, err := ostree.Copy(ctx, b.dir, t.objects, b.commits[0], ostree.CopyOptions{SkipVerify: true}); err != nil {
				return nil, fmt.Errorf("giving %s its factory image: %w", name, err)
			}
		}
		if t.Device, err = device.New(cfg); err != nil {
			return nil, err
		}
		t.expect(b)
	}
	return all, nil
}

// expect notes what every ECU is to run, from what was built: no server is
// asked.
func (t *trial) expect(b demoBuild) {
	t.want = map[uptane.ECUSerial]device.Image{}
	sum := sha256.Sum256(b.firmware)
	for _, e := range t.ECUs() {
		t.want[e.Serial] = device.Image{Filename: demoOS + "-2", SHA256: b.commits[1].String()}
		if e.HardwareID == demoSensor {
			t.want[e.Serial] = device.Image{Filename: demoFirmware + "-2", SHA256: hex.EncodeToString(sum[:]), Length: int64(len(b.firmware))}
		}
	}
}

// readPins reads the root metadata that an image is built with.
func readPins(folder string) (image, director []byte, err error) {
	if image, err = os.ReadFile(folder + "/repo/root.json"); err != nil {
		return nil, nil, fmt.Errorf("reading pinned roots: %w", err)
	}
	if director, err = os.ReadFile(folder + "/director/root.json"); err != nil {
		return nil, nil, fmt.Errorf("reading pinned roots: %w", err)
	}
	return image, director, nil
}

// provision lets a device get its certificate and register, and poll once when
// nothing is assigned yet.
func (t *trial) provision(ctx context.Context, s *story) error {
	if err := t.Provision(ctx); err != nil {
		return err
	}
	own, _, err := credentials.ReadP12(t.Certificate(), "")
	if err != nil {
		return err
	}
	var kinds []string
	for _, e := range t.ECUs() {
		kinds = append(kinds, fmt.Sprintf("%s %.8s", e.HardwareID, e.Serial))
	}
	name := string(t.OEMID())
	s.fact(name, "%s", t.what)
	s.fact(name, "certificate CN=%s, %s, issued by %q, until %s", own.Leaf.Subject.CommonName, own.Leaf.PublicKeyAlgorithm, own.Leaf.Issuer.CommonName, own.Leaf.NotAfter.Format("2006"))
	s.fact(name, "registered ECUs: %s", strings.Join(kinds, ", "))
	r, err := t.Poll(ctx)
	if err != nil {
		return err
	}
	s.fact(name, "first poll: %d requests, Director targets version %d, %s", r.Requests, r.Director.Targets, r.Outcome)
	t.steps = nil
	return nil
}

// update lets a device poll, reboot where it has to and report.
func (t *trial) update(ctx context.Context) (device.Result, error) {
	r, err := t.Poll(ctx)
	if err != nil {
		return r, err
	}
	if r.Outcome == device.NothingNew {
		return r, errors.New("the device found nothing to install")
	}
	if !t.Pending() {
		return r, nil
	}
	if err := t.Reboot(ctx); err != nil {
		return r, err
	}
	before := len(t.steps)
	if _, err := t.Poll(ctx); err != nil {
		return r, fmt.Errorf("reporting: %w", err)
	}
	t.steps = slices.DeleteFunc(t.steps, func(s device.Step) bool { // of this poll the report alone is of interest
		before--
		return before < 0 && s.Phase != device.PhaseReport
	})
	return r, nil
}

// told is whether a step of an update is worth a line of its own. Secondaries
// repeat all checks; that they did is told by what they found.
func (t *trial) told(s device.Step) bool {
	switch s.Phase {
	case device.PhaseProvision:
		return false
	case device.PhaseReport:
		return strings.Contains(s.Title, "manifest")
	case device.PhaseDirector, device.PhaseImage:
		return s.ECU == t.Primary()
	}
	return true
}

// evidence tells an update: every check, or the sum of them.
func (t *trial) evidence(ctx context.Context, s *story, r device.Result, full bool, commit ostree.Checksum) error {
	name := string(t.OEMID())
	if full {
		repeated := map[uptane.ECUSerial]int{}
		for _, step := range t.steps {
			if !t.told(step) {
				repeated[step.ECU]++
				continue
			}
			if n := repeated[step.ECU]; step.Phase == device.PhaseMatch && n > 0 && step.ECU != t.Primary() {
				s.fact(name+" "+string(step.Phase), "%sverified %d documents on its own", t.ecuName(step.ECU), n)
			}
			s.fact(name+" "+string(step.Phase), "%s%s", t.ecuName(step.ECU), step)
		}
	} else {
		s.fact(name, "verified Director root %d, timestamp %d, snapshot %d, targets %d", r.Director.Root, r.Director.Timestamp, r.Director.Snapshot, r.Director.Targets)
		s.fact(name, "verified Image root %d, timestamp %d, snapshot %d, targets %d", r.Image.Root, r.Image.Timestamp, r.Image.Snapshot, r.Image.Targets)
		for _, step := range t.steps {
			if strings.Contains(step.Title, "manifest") && strings.Contains(step.Detail, "report") {
				s.fact(name, "%s", step)
			}
		}
	}
	all, err := objectsOf(ctx, t.objects, commit)
	if err != nil {
		return fmt.Errorf("looking at what %s has on its disk: %w", name, err)
	}
	s.fact(name, "%d requests, %d OSTree objects, %s received; all %d objects of the release are on its disk", r.Requests, r.Objects, bytesOf(r.Bytes), len(all))
	return nil
}

// ecuName is said before what a Secondary does.
func (t *trial) ecuName(serial uptane.ECUSerial) string {
	if serial == "" || serial == t.Primary() {
		return ""
	}
	return fmt.Sprintf("Secondary %.8s: ", serial)
}
