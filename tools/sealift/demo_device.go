package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"sealift/fixtures/device"
	"sealift/internal/credentials"
	"sealift/uptane"
)

// ecuSerial is short for the conversion of what the api says.
func ecuSerial(text string) uptane.ECUSerial { return uptane.ECUSerial(text) }

// simulation is what `sealift demo device` is told.
type simulation struct {
	credentials string
	name        string
	hardware    string
	secondaries []string
	state       string
	pin         string
	poll        time.Duration
	once        bool
}

// newDemoDevice is `sealift demo device`.
func newDemoDevice() *cobra.Command {
	var o simulation
	c := &cobra.Command{
		Use: "device --credentials device.zip --name NAME --hardware-id ID", Short: "Run one simulated device against any server", Args: args(cobra.NoArgs),
		Long: `Runs a simulated device that does what a real one does: it provisions itself, verifies both
repositories fully, downloads, installs, reboots and reports, and tells every step. It goes on
until it is interrupted; with --once it polls once, and a second time after a reboot.`,
		RunE: func(c *cobra.Command, _ []string) error {
			for flag, value := range map[string]string{"--credentials": o.credentials, "--name": o.name, "--hardware-id": o.hardware} {
				if value == "" {
					return usage(fmt.Errorf("%s is missing", flag))
				}
			}
			return o.run(c.Context(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.credentials, "credentials", "", "archive for devices, device.zip")
	f.StringVar(&o.name, "name", "", "the device's own name, its deviceId")
	f.StringVar(&o.hardware, "hardware-id", "", "kind of the Primary")
	f.StringArrayVar(&o.secondaries, "secondary", nil, "kind of a Secondary (repeatable)")
	f.StringVar(&o.state, "state", "", "folder that keeps the device over restarts (default ./sealift-device-NAME)")
	f.StringVar(&o.pin, "pin", "", "folder with repo/root.json and director/root.json to trust from the start")
	f.DurationVar(&o.poll, "poll", 2*time.Second, "pause between two polls")
	f.BoolVar(&o.once, "once", false, "poll once, and report what came of it")
	return c
}

func (o simulation) run(ctx context.Context, w io.Writer) error {
	n := &narrator{w: w}
	d, err := o.device(n)
	if err != nil {
		return err
	}
	defer d.Close()
	for first := true; ; first = false {
		n.begin(first)
		err := o.cycle(ctx, d, n)
		switch {
		case ctx.Err() != nil:
			return nil // interrupted, as it is meant to end
		case errors.Is(err, device.ErrAlreadyRegistered):
			return fmt.Errorf("%w: the server knows %s; use its --state folder again, or run: sealift device reset %s", err, o.name, o.name)
		case o.once:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.poll):
		}
	}
}

// device makes the device, or the one again whose folder is there.
func (o simulation) device(n *narrator) (*device.Device, error) {
	archive, err := credentials.Open(o.credentials)
	if err != nil {
		return nil, fmt.Errorf("reading --credentials: %w", err)
	}
	if o.state == "" {
		o.state = "./sealift-device-" + o.name
	}
	cfg := device.Config{
		Archive: archive, OEMID: uptane.OEMID(o.name), Dir: o.state,
		Primary: device.ECU{HardwareID: uptane.HardwareID(o.hardware)}, Observer: n.step,
	}
	for _, id := range o.secondaries {
		cfg.Secondaries = append(cfg.Secondaries, device.ECU{HardwareID: uptane.HardwareID(id)})
	}
	if o.pin != "" {
		if cfg.ImageRoot, cfg.DirectorRoot, err = readPins(o.pin); err != nil {
			return nil, usage(err)
		}
	}
	return device.New(cfg)
}

// cycle is one poll, the reboot it may lead to, and the report of that.
func (o simulation) cycle(ctx context.Context, d *device.Device, n *narrator) error {
	r, err := d.Poll(ctx)
	if err == nil && r.Outcome == device.Rebooting {
		n.say("rebooting")
		if err = d.Reboot(ctx); err == nil {
			r, err = d.Poll(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		n.say("%s: %v", r.Outcome, err)
		return err
	}
	if r.Outcome != device.NothingNew || n.live {
		for serial, image := range d.Installed() {
			n.say("%s runs %s %s", serial, image.Filename, shortSum(image.SHA256))
		}
	}
	return err
}

// narrator tells the steps of a simulated device. A poll that finds nothing new
// is told the first time only: its steps are held back until one of them shows
// that something happens.
type narrator struct {
	w    io.Writer
	live bool
	held []device.Step
}

// begin begins a poll.
func (n *narrator) begin(live bool) { n.live, n.held = live, nil }

func (n *narrator) step(s device.Step) {
	if !n.live {
		n.held = append(n.held, s)
		if s.OK() && s.Phase != device.PhaseMatch && s.Phase != device.PhaseDownload && s.Phase != device.PhaseInstall {
			return
		}
		n.live = true
		for _, held := range n.held {
			n.print(held)
		}
		return
	}
	n.print(s)
}

func (n *narrator) print(s device.Step) {
	fmt.Fprintf(n.w, "%s  %-10s %s\n", s.At.Local().Format("15:04:05.000"), s.Phase, plain(s.String()))
}

func (n *narrator) say(format string, values ...any) {
	fmt.Fprintf(n.w, "%s  %-10s %s\n", time.Now().Format("15:04:05.000"), "", plain(fmt.Sprintf(format, values...)))
}
