package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sealift/fixtures/device"
	"sealift/internal/credentials"
	"sealift/uptane"
)

// drillBoard is the kind of the drill's devices.
const drillBoard = uptane.HardwareID("drill-board")

const (
	drillApp   = "app" // what they run
	drillFleet = 3     // how many there are
)

// newDrill is `sealift drill`.
func newDrill() *cobra.Command {
	return &cobra.Command{
		Use: "drill", Short: "Rehearse the theft of every online key: attacks, refusals, the ceremony, the fleet goes on", Args: args(cobra.NoArgs),
		Long: `Makes a throw-away server on loopback with three simulated devices, steals everything that is on the
server, attacks the devices at the server's address with it, holds the ceremony that gives the server
new keys, and shows that the fleet goes on and that the thief is refused. Exit code 0 means that each
attack was refused for the reason that is given, and that every device runs the last release.`,
		RunE: func(c *cobra.Command, _ []string) error { return runDrill(c.Context(), c.OutOrStdout()) },
	}
}

// drill is one performance.
type drill struct {
	*stage
	*story
	fleet []*device.Device
	thief *thief
}

func runDrill(ctx context.Context, w io.Writer) (err error) {
	g, err := newStage()
	if err != nil {
		return err
	}
	d := &drill{stage: g, story: newStory(w)}
	fmt.Fprintln(w, "Sealift drill: every online key is stolen, and the fleet goes on. All on this machine.")
	defer func() {
		for _, car := range d.fleet {
			car.Close()
		}
		if d.thief != nil {
			err = errors.Join(err, d.thief.flee())
		}
		err = errors.Join(err, g.end())
	}()
	for _, step := range []func(context.Context) error{
		d.begin, d.ordinary, d.theft, d.attack, d.ceremony, d.goOn, d.returns, d.proof,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("step %d of the drill: %w", d.step, err)
		}
	}
	fmt.Fprintf(w, "\nEvery attack was refused, and every device runs %s-3. The whole took %s.\n", drillApp, time.Since(d.began).Round(100*time.Millisecond))
	return nil
}

func (d *drill) begin(ctx context.Context) error {
	d.next("A server, and %d devices in the field", drillFleet)
	if err := d.start(ctx, false); err != nil {
		return err
	}
	d.fact("server", "%s", d.api.Server)
	d.fact("offline", "root keys of both repositories and the image targets key: in sealift-offline, not on the server")
	archive, err := credentials.Open(d.path("sealift-out", "device.zip"))
	if err != nil {
		return err
	}
	for i := range drillFleet {
		car, err := device.New(device.Config{Archive: archive, OEMID: uptane.OEMID(fmt.Sprint("truck-", i+1)), Dir: d.path(fmt.Sprint("truck-", i+1)),
			Primary: device.ECU{HardwareID: drillBoard}})
		if err != nil {
			return err
		}
		d.fleet = append(d.fleet, car)
		if err := car.Provision(ctx); err != nil {
			return err
		}
		d.fact("device", "%s is provisioned", car.OEMID())
	}
	d.took()
	return nil
}

// ordinary is how it goes on a normal day: two releases.
func (d *drill) ordinary(ctx context.Context) error {
	d.next("An ordinary day: two releases, signed offline, installed by all")
	for n := 1; n <= 2; n++ {
		if err := d.release(ctx, n); err != nil {
			return err
		}
	}
	d.took()
	return nil
}

// release signs, assigns and installs a release.
func (d *drill) release(ctx context.Context, n int) error {
	file := d.path(fmt.Sprint("release-", n))
	if err := os.WriteFile(file, fmt.Appendf(nil, "release %d of the app\n", n), 0o600); err != nil {
		return fmt.Errorf("writing a release: %w", err)
	}
	name := fmt.Sprintf("%s-%d", drillApp, n)
	if _, err := d.run(ctx, "sealift", "target", "add", "--credentials", d.path("sealift-out", "build.zip"), "--name", drillApp,
		"--version", fmt.Sprint(n), "--hardware-id", string(drillBoard), file); err != nil {
		return err
	}
	given := []string{"update", "create", "--target", name}
	for _, car := range d.fleet {
		given = append(given, "--device", string(car.OEMID()))
	}
	if _, err := d.run(ctx, "sealift", given...); err != nil {
		return err
	}
	for _, car := range d.fleet {
		r, err := car.Poll(ctx)
		if err != nil || r.Outcome != device.Installed {
			return fmt.Errorf("device %s was to install %s: %s, %w", car.OEMID(), name, r.Outcome, errors.Join(err))
		}
		d.fact(name, "%s verified Director root %d and Image root %d, and runs it", car.OEMID(), r.Director.Root, r.Image.Root)
	}
	return nil
}

func (d *drill) theft(ctx context.Context) error {
	d.next("The theft: a copy of all that is on the server")
	if _, err := d.run(ctx, "sealift", "backup", d.path("loot")); err != nil {
		return err
	}
	d.fact("stolen", "the database with every online key, the master key that opens them, TLS keys, the device CA's intermediate")
	d.fact("not stolen", "sealift-offline was never there")
	if err := d.halt(); err != nil { // two cannot answer at one address
		return err
	}
	var err error
	if d.thief, err = burgle(ctx, d.stage); err != nil {
		return err
	}
	d.fact("the address", "%s is the thief's now, with the server's own certificate", d.thief.address)
	d.took()
	return nil
}

// attack lets each device meet the thief once for each of his ideas.
func (d *drill) attack(ctx context.Context) error {
	d.next("The attacks: the devices hear the thief alone")
	for _, idea := range d.thief.ideas() {
		d.fact(idea.title, "%s", idea.means)
		for _, car := range d.fleet {
			if err := d.meet(ctx, car, idea); err != nil {
				return err
			}
		}
		d.thief.liar.Honest()
	}
	d.fact("what he can do", "withhold updates until the signatures end, and assign images that you have signed and that are not older than what runs")
	d.took()
	return nil
}

// meet lets a device poll while the thief lies, and wants it to refuse for the
// reason of the idea.
func (d *drill) meet(ctx context.Context, car *device.Device, idea idea) error {
	lies, err := idea.prepare(ctx, car.OEMID())
	if err != nil {
		return err
	}
	d.thief.liar.Tell(lies...)
	before := fmt.Sprint(car.Installed())
	r, err := car.Poll(ctx)
	if r.Outcome != device.Refused || !errors.Is(err, idea.refusal) {
		return fmt.Errorf("%s: device %s did not refuse with %q: %s, %w", idea.title, car.OEMID(), idea.refusal, r.Outcome, errors.Join(err))
	}
	if after := fmt.Sprint(car.Installed()); after != before {
		return fmt.Errorf("%s: device %s runs something else now", idea.title, car.OEMID())
	}
	_, reason, found := strings.Cut(err.Error(), " refuses, ") // without the serial of the ECU
	if !found {
		reason = err.Error()
	}
	d.fact(idea.title, "%s refuses, %s", car.OEMID(), reason)
	return nil
}

// ceremony gives the server new keys. It is held with the offline folder.
func (d *drill) ceremony(ctx context.Context) error {
	d.next("The ceremony: the server is back at its address, and gets new keys from those who hold the root keys")
	if err := d.thief.flee(); err != nil {
		return err
	}
	if err := d.again(ctx); err != nil {
		return err
	}
	for _, given := range [][]string{
		{"root", "rotate", "--role", "snapshot,timestamp", "--yes"},
		{"root", "rotate", "--role", "targets", "--repository", "director", "--yes"},
	} {
		d.fact("command", "sealift %s", joined(given))
		out, err := d.run(ctx, "sealift", given...)
		if err != nil {
			return err
		}
		for _, line := range linesWith(out, "Signed with", "Published", " + ") {
			d.fact("", "  %s", line)
		}
	}
	d.took()
	return nil
}

func (d *drill) goOn(ctx context.Context) error {
	d.next("The fleet goes on: a third release")
	if err := d.release(ctx, 3); err != nil {
		return err
	}
	d.took()
	return nil
}

func (d *drill) returns(ctx context.Context) error {
	d.next("The thief comes back with all he has")
	if err := d.halt(); err != nil {
		return err
	}
	if err := d.thief.takeOver(ctx); err != nil {
		return err
	}
	for _, car := range d.fleet {
		if err := d.meet(ctx, car, d.thief.lastIdea()); err != nil {
			return err
		}
	}
	d.took()
	return nil
}

func (d *drill) proof(context.Context) error {
	d.next("What every device runs")
	for _, car := range d.fleet {
		image := car.Installed()[car.Primary()]
		if image.Filename != drillApp+"-3" {
			return fmt.Errorf("device %s runs %s", car.OEMID(), image.Filename)
		}
		d.fact(string(car.OEMID()), "%s %s", image.Filename, shortSum(image.SHA256))
	}
	return nil
}

// halt stops the server of the stage.
func (g *stage) halt() error {
	g.api.http.CloseIdleConnections()
	if err := g.server.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the server: %w", err)
	}
	select {
	case <-g.exited:
		return nil
	case <-time.After(stopTime):
		return errors.New("stopping the server: it goes on")
	}
}

// again starts the server of the stage anew.
func (g *stage) again(ctx context.Context) error { return g.launch(ctx, false) }
