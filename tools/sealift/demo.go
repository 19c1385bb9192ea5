package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sealift/access"
)

// newDemo is `sealift demo`.
func newDemo() *cobra.Command {
	var keep, tokens bool
	c := &cobra.Command{
		Use: "demo", Short: "Show a whole update on this machine: server, build, signing, three devices", Args: args(cobra.NoArgs),
		Long: `Makes a throw-away server on loopback, pushes a root file system, signs it offline, and lets
three simulated devices verify and install it. Exit code 0 means that every ECU runs the new image,
as this command has read over the API and compared with what it built.

With --hsm the root, targets and online keys are in two PKCS#11 tokens in software, which it makes
in its folder: that needs softhsm2, and programs built with CGO_ENABLED=1 and -tags pkcs11.`,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), c.OutOrStdout(), keep, tokens) },
	}
	c.Flags().BoolVar(&keep, "keep", false, "leave the server running and say how to look at it")
	c.Flags().BoolVar(&tokens, "hsm", false, "keep the private keys in PKCS#11 tokens (softhsm2)")
	c.AddCommand(newDemoDevice())
	return c
}

// demo is one performance.
type demo struct {
	*stage
	*story
	build  demoBuild
	trials []*trial
	reader *client // read-only
	update updateAnswer
}

func runDemo(ctx context.Context, w io.Writer, keep, tokens bool) (err error) {
	g, err := newStage()
	if err != nil {
		return err
	}
	g.tokens = tokens
	d := &demo{stage: g, story: newStory(w)}
	fmt.Fprintln(w, "Sealift demo: from a root file system to three updated devices, all on this machine.")
	defer func() {
		if keep && err == nil {
			d.farewell(w)
			return
		}
		if d.reader != nil {
			d.reader.http.CloseIdleConnections()
		}
		err = errors.Join(err, g.end())
	}()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.serve(ctx, keep) },
		d.commit, d.push, d.sign, d.provision, d.assign, d.install, d.compare,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("step %d of the demo: %w", d.step, err)
		}
	}
	fmt.Fprintf(w, "\nEvery ECU runs the new image. The whole took %s.\n", time.Since(d.began).Round(100*time.Millisecond))
	return nil
}

func (d *demo) serve(ctx context.Context, detached bool) error {
	d.next("A server: keys and certificates are made, then it is started")
	if err := d.start(ctx, detached); err != nil {
		return err
	}
	d.fact("folder", "%s", d.dir)
	d.fact("api", "%s  (people and builds, with tokens)", d.api.Server)
	for _, root := range []struct{ label, path string }{{"Image root", "/api/v1/user_repo/root.json"}, {"Director root", "/api/v1/admin/repo/root.json"}} {
		m, err := d.metadata(ctx, root.path)
		if err != nil {
			return err
		}
		d.fact(root.label, "%s", m)
	}
	if err := d.tellCustody(ctx); err != nil {
		return err
	}
	d.took()
	return nil
}

// signedMetadata is what the demo shows of a document.
type signedMetadata struct {
	Signatures []struct{ KeyID string }
	Signed     struct {
		Version int64
		Expires time.Time
	}
	size int
}

func (m signedMetadata) String() string {
	var ids []string
	for _, s := range m.Signatures {
		ids = append(ids, shortSum(s.KeyID))
	}
	return fmt.Sprintf("version %d, signed by %s, good until %s, %s", m.Signed.Version, strings.Join(ids, " "), m.Signed.Expires.Format(time.DateOnly), bytesOf(int64(m.size)))
}

func (d *demo) metadata(ctx context.Context, path string) (signedMetadata, error) {
	var m signedMetadata
	raw, err := d.api.get(ctx, path, &m)
	m.size = len(raw)
	return m, err
}

func (d *demo) commit(ctx context.Context) error {
	d.next("A build: a root file system is committed twice, the second time with one package changed")
	var err error
	if d.build, err = build(ctx, d.path("build")); err != nil {
		return err
	}
	d.fact("release 1", "commit %s", d.build.commits[0])
	d.fact("release 2", "commit %s", d.build.commits[1])
	d.fact("objects", "%d in release 2; %d of them are new", d.build.objects, d.build.changed)
	d.took()
	return nil
}

func (d *demo) push(ctx context.Context) error {
	d.next("garage-push sends both commits; the server verifies every object")
	for i, commit := range d.build.commits {
		began := time.Now()
		// The ref is at the second commit; the first is pushed by its checksum.
		ref := demoRef
		if i == 0 {
			ref = commit.String()
		}
		out, err := d.run(ctx, "garage-push", "--repo", d.path("build", "ostree"), "--ref", ref, "--credentials", d.path("sealift-out", "build.zip"))
		if err != nil {
			return err
		}
		label := fmt.Sprint("release ", i+1)
		d.fact(label, "%s", lineWith(out, "requests"))
		d.fact(label, "%s In %s.", lineWith(out, "Total size"), time.Since(began).Round(time.Millisecond))
	}
	d.took()
	return nil
}

// sign does what a build job does: a signing home is made from build.zip, and
// the targets key in it is opened with a passphrase that the server never sees.
func (d *demo) sign(ctx context.Context) error {
	d.next("garage-sign signs both images offline and publishes the targets")
	firmware := d.path("build", demoFirmware)
	if err := os.WriteFile(firmware, d.build.firmware, 0o600); err != nil {
		return fmt.Errorf("writing firmware: %w", err)
	}
	repo := []string{"--home-dir", d.path("build", "tuf")}
	image := []string{"--repo", "demo", "--name", demoFirmware, "--version", "2", "--input", firmware}
	for _, given := range [][]string{
		{"init", "--repo", "demo", "--credentials", d.path("sealift-out", "build.zip")},
		{"targets", "pull", "--repo", "demo"},
		{"targets", "add", "--repo", "demo", "--format", "ostree", "--name", demoOS, "--version", "2", "--length", "0",
			"--sha256", d.build.commits[1].String(), "--hardwareids", string(demoBoard)},
		append([]string{"targets", "upload"}, image...),
		append([]string{"targets", "add-uploaded", "--hardwareids", string(demoSensor)}, image...),
		{"targets", "sign", "--repo", "demo", "--key-name", "targets"},
		{"targets", "push", "--repo", "demo"},
	} {
		out, err := d.run(ctx, "garage-sign", append(repo, given...)...)
		if err != nil {
			return err
		}
		label := given[0]
		if label == "targets" {
			label = given[1]
		}
		d.fact(label, "%s", lastLine(out))
	}
	for _, role := range []string{"targets", "snapshot", "timestamp"} {
		m, err := d.metadata(ctx, "/api/v1/user_repo/"+role+".json")
		if err != nil {
			return err
		}
		whose := "online key"
		if role == "targets" {
			whose = "offline key"
		}
		d.fact("Image "+role, "%s, %s", m, whose)
	}
	d.took()
	return nil
}

func (d *demo) provision(ctx context.Context) error {
	d.next("Three devices provision themselves with device.zip: POST /devices over mTLS")
	var err error
	if d.trials, err = fleet(ctx, d.stage, d.build); err != nil {
		return err
	}
	for _, t := range d.trials {
		if err := t.provision(ctx, d.story); err != nil {
			return fmt.Errorf("device %s: %w", t.OEMID(), err)
		}
	}
	d.took()
	return nil
}

func (d *demo) assign(ctx context.Context) error {
	d.next("An operator assigns release 2 to all devices")
	ids := make([]string, len(d.trials))
	for i, t := range d.trials {
		var known deviceAnswer
		if _, err := d.api.get(ctx, devicePath(string(t.OEMID())), &known); err != nil {
			return err
		}
		ids[i] = known.UUID
	}
	targets := map[string]string{string(demoBoard): demoOS + "-2", string(demoSensor): demoFirmware + "-2"}
	if _, err := d.api.ask(ctx, http.MethodPost, "/api/v1/updates", map[string]any{"name": "demo", "targets": targets, "devices": ids}, &d.update); err != nil {
		return err
	}
	if len(d.update.Affected) != len(ids) {
		return fmt.Errorf("only %d of %d devices get the update", len(d.update.Affected), len(ids))
	}
	d.fact("update", "%s, correlation id %s", d.update.UpdateID, d.update.CorrelationID)
	for _, line := range packages(targets) {
		d.fact("images", "%s", line)
	}
	d.fact("devices", "%d", len(ids))
	d.took()
	return nil
}

func (d *demo) install(ctx context.Context) error {
	d.next("The devices verify both repositories, install and report")
	for i, t := range d.trials {
		r, err := t.update(ctx)
		if err != nil {
			return fmt.Errorf("device %s: %w", t.OEMID(), err)
		}
		if err := t.evidence(ctx, d.story, r, i == 1, d.build.commits[1]); err != nil { // in full the one with Secondaries
			return err
		}
	}
	d.took()
	return nil
}

// openReader makes a token that may only look, and shows that it may not
// change anything.
func (d *demo) openReader(ctx context.Context) error {
	var made tokenAnswer
	request := map[string]any{"name": "demo, read-only", "scopes": []access.Scope{access.Read}, "days": 1}
	if _, err := d.api.ask(ctx, http.MethodPost, "/api/v1/tokens", request, &made); err != nil {
		return err
	}
	var err error
	if d.reader, err = newClient(operator{Server: d.api.Server, Token: made.Token, CA: d.api.CA}); err != nil {
		return err
	}
	_, err = d.reader.ask(ctx, http.MethodPost, devicePath(string(d.trials[0].OEMID()), "/revoke"), nil, nil)
	var refusal *apiError
	if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
		return fmt.Errorf("the read-only token could change something: %w", errors.Join(err))
	}
	d.fact("token", "%s, read-only; revoking a device with it is refused: %s", made.ID, refusal.Code)
	return nil
}

// compare reads over the api what every ECU reports and compares it with what
// was built here.
func (d *demo) compare(ctx context.Context) error {
	d.next("What the devices report, read over the API, against what was built here")
	if err := d.openReader(ctx); err != nil {
		return err
	}
	wrong := 0
	for _, t := range d.trials {
		var o overviewAnswer
		if _, err := d.reader.get(ctx, devicePath(string(t.OEMID()), "/overview"), &o); err != nil {
			return err
		}
		found := 0
		for _, e := range o.ECUs {
			want, ok := t.want[ecuSerial(e.EcuSerial)]
			same := ok && text(e.Filename) == want.Filename && text(e.SHA256) == want.SHA256
			verdict := "same"
			if !same {
				verdict = "DIFFERENT, expected " + shortSum(want.SHA256)
				wrong++
			}
			found++
			d.fact(o.Device.DeviceID, "%-11s %.8s  %-17s %s  %s", e.HardwareID, e.EcuSerial, text(e.Filename), shortSum(text(e.SHA256)), verdict)
		}
		if found != len(t.want) || o.Device.DeviceStatus != "UpToDate" {
			d.fact(o.Device.DeviceID, "%d ECUs of %d, status %s", found, len(t.want), o.Device.DeviceStatus)
			wrong++
		}
	}
	if err := d.count(ctx); err != nil {
		return err
	}
	d.took()
	if wrong > 0 {
		return fmt.Errorf("%d ECUs or devices are not what they should be", wrong)
	}
	return nil
}

// count holds the update's own account against the number of ECUs.
func (d *demo) count(ctx context.Context) error {
	var u updateAnswer
	if _, err := d.reader.get(ctx, "/api/v1/updates/"+d.update.UpdateID, &u); err != nil {
		return err
	}
	ecus := 0
	for _, t := range d.trials {
		ecus += len(t.want)
	}
	d.fact("update", "%s of %d assignments", counted(u.Assignments), ecus)
	if u.Assignments["installed"] != ecus {
		account, _ := json.Marshal(u.Assignments)
		return fmt.Errorf("the update's account is %s, not %d installed", account, ecus)
	}
	return nil
}

// farewell says how to look at what is left running.
func (d *demo) farewell(w io.Writer) {
	self, _ := os.Executable()
	out := d.path("sealift-out")
	fmt.Fprintf(w, `
The server goes on running, process %d. Look at it:

  export SEALIFT_OPERATOR=%s/operator.json
  %s status
  %s device show truck-2
  %s demo device --credentials %s/device.zip --name truck-4 --hardware-id %s --state %s
  curl --cacert %s/server_ca.pem %s/docs

Its log is %s. To end it: kill %d && rm -r %s
`, d.server.Process.Pid, out, self, self, self, out, demoBoard, d.path("devices", "truck-4"), out, d.api.Server, d.path("server.log"), d.server.Process.Pid, d.dir)
}
