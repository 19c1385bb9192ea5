package director_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

const ns uptane.Namespace = "default"

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// authority holds the keys of one Director repository: what package keys does
// with a database.
type authority struct {
	t     *testing.T
	mu    sync.Mutex
	keys  map[uptane.Role]ed25519.PrivateKey
	since map[uptane.Role]int
	roots [][]byte
	signs int
	ahead bool // the next Sign finds that the root has changed
}

func newAuthority(t *testing.T, expires time.Time) *authority {
	a := &authority{t: t, keys: map[uptane.Role]ed25519.PrivateKey{}, since: map[uptane.Role]int{}}
	a.rotate(expires, uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp)
	return a
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t *testing.T, key ed25519.PrivateKey) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rotate publishes the next root, with new keys for roles.
func (a *authority) rotate(expires time.Time, roles ...uptane.Role) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	old, version := a.keys[uptane.RoleRoot], len(a.roots)+1
	for _, role := range roles {
		a.keys[role], a.since[role] = newKey(a.t), version
	}
	root := metadata.Root(expires.UTC().Truncate(time.Second)).Signed
	root.Version, root.Keys, root.Roles = int64(version), nil, nil
	for role, key := range a.keys {
		if err := uptane.AddKey(&root, role, publicKey(a.t, key)); err != nil {
			a.t.Fatal(err)
		}
	}
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, &root)
	if err != nil {
		a.t.Fatal(err)
	}
	var sigs []uptane.RawSig
	for _, key := range []ed25519.PrivateKey{a.keys[uptane.RoleRoot], old} {
		if key == nil {
			continue
		}
		sig, err := uptane.Sign(key, payload)
		if err != nil {
			a.t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	a.roots = append(a.roots, uptane.Frame(uptane.Uptane, payload, sigs...))
}

func (a *authority) Sign(_ context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if job.RootVersion != len(a.roots) || a.ahead {
		a.ahead = false
		return nil, uptane.ErrRootChanged
	}
	a.signs++
	sig, err := uptane.Sign(a.keys[job.Role], msg)
	return []uptane.RawSig{sig}, err
}

var errNoRoot = fault.New(fault.NotFound, "root_role_not_found", "no such root")

func (a *authority) Root(_ context.Context, _ uptane.Namespace, _ uptane.Repository, version int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if version == 0 {
		version = len(a.roots)
	}
	if version > len(a.roots) {
		return nil, errNoRoot
	}
	return a.roots[version-1], nil
}

func (a *authority) RootVersion(context.Context, uptane.Namespace, uptane.Repository) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.roots), nil
}

func (a *authority) RoleKeysSince(_ context.Context, _ uptane.Namespace, _ uptane.Repository, role uptane.Role) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.since[role], nil
}

// images is an Image repository that has these targets.
type images map[string]uptane.Target

var errNoTarget = fault.New(fault.NotFound, "target_not_found", "no such target")

func (i images) Target(_ context.Context, _ uptane.Namespace, filename string) (uptane.Target, error) {
	t, ok := i[filename]
	if !ok {
		return t, errNoTarget
	}
	return t, nil
}

// add enters an image made of its name; length 0 makes it an OSTree commit.
func (i images) add(filename string, length int64, hardware ...uptane.HardwareID) {
	sum := sha256.Sum256([]byte(filename))
	format := uptane.FormatBinary
	if length == 0 {
		format = uptane.FormatOSTree
	}
	i[filename] = uptane.Target{Filename: filename, Length: length, Hashes: metadata.Hashes{"sha256": sum[:]},
		Custom: uptane.Custom{HardwareIDs: hardware, TargetFormat: format, ReleaseCounter: int64(len(i) + 1)}}
}

// journal keeps what the Director tells.
type journal struct {
	mu      sync.Mutex
	changes []uptane.Change
	fail    error
}

func (j *journal) Record(_ context.Context, _ *sqlx.Tx, _ uptane.Namespace, _ uptane.DeviceID, c uptane.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changes = append(j.changes, c)
	return j.fail
}

func (j *journal) last() uptane.Change {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changes[len(j.changes)-1]
}

// status is the last one that was told.
func (j *journal) status() (s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.changes {
		if c.Status != "" {
			s = c.Status
		}
	}
	return s
}

// fleet is a Director with everything around it.
type fleet struct {
	*director.Director
	t       *testing.T
	db      *db.DB
	keys    *authority
	images  images
	journal *journal
	clock   *clock
	began   func(context.Context, uptane.Namespace, uptane.DeviceID, string) error
}

func newFleet(t *testing.T, d *db.DB) *fleet {
	t.Helper()
	f := &fleet{t: t, db: d, images: images{}, journal: &journal{}, clock: &clock{t: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)}}
	f.keys = newAuthority(t, f.clock.now().AddDate(1, 0, 0))
	f.Director = f.replica()
	return f
}

// replica is another process on the same database.
func (f *fleet) replica() *director.Director {
	f.t.Helper()
	d, err := director.New(f.t.Context(), director.Config{
		DB: f.db, Signer: f.keys, Roots: f.keys, Keys: f.keys, Images: f.images, Journal: f.journal,
		Now: f.clock.now, Log: slog.New(slog.DiscardHandler), Began: f.began,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = d.Close(context.Background()) })
	return d
}

// ecu is an ECU of a device under test.
type ecu struct {
	serial   uptane.ECUSerial
	hardware uptane.HardwareID
	key      ed25519.PrivateKey
	runs     uptane.Target
	attack   string
}

// device is a device under test; the first ECU is its Primary.
type device struct {
	f       *fleet
	id      uptane.DeviceID
	oemid   uptane.OEMID
	ecus    []*ecu
	counter int
}

// device makes one with ECUs named HARDWARE-N and registers it.
func (f *fleet) device(name string, hardware ...uptane.HardwareID) *device {
	f.t.Helper()
	v := &device{f: f, id: uptane.DeviceID("id-" + name), oemid: uptane.OEMID(name)}
	for i, hw := range hardware {
		v.ecus = append(v.ecus, &ecu{
			serial: uptane.ECUSerial(fmt.Sprintf("%s-%s-%d", name, hw, i)), hardware: hw, key: newKey(f.t),
			runs: uptane.Target{Filename: "unknown", Hashes: metadata.Hashes{"sha256": make([]byte, 32)}},
		})
	}
	if created, err := f.RegisterECUs(f.t.Context(), ns, v.id, v.oemid, v.registration()); err != nil || !created {
		f.t.Fatalf("registering %s: created %v, %v", name, created, err)
	}
	return v
}

func (v *device) registration() []byte {
	var list []map[string]any
	for _, e := range v.ecus {
		key := map[string]any{"keytype": "unknown", "keyval": map[string]any{"public": ""}}
		if e.key != nil {
			public := strings.ToUpper(hex.EncodeToString(e.key.Public().(ed25519.PublicKey)))
			key = map[string]any{"keytype": "ED25519", "keyval": map[string]any{"public": public}}
		}
		list = append(list, map[string]any{"clientKey": key, "ecu_serial": e.serial, "hardware_identifier": e.hardware})
	}
	raw, err := json.Marshal(map[string]any{"primary_ecu_serial": v.ecus[0].serial, "ecus": list})
	if err != nil {
		v.f.t.Fatal(err)
	}
	return raw
}

func (v *device) register() error {
	_, err := v.f.RegisterECUs(v.f.t.Context(), ns, v.id, v.oemid, v.registration())
	return err
}

// signed frames payload as clients do, signed by key.
func signed(t *testing.T, key ed25519.PrivateKey, payload any) json.RawMessage {
	t.Helper()
	v, err := canonical.Of(payload, canonical.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(key, v.Uptane())
	if err != nil {
		t.Fatal(err)
	}
	return uptane.Frame(uptane.Uptane, v.Uptane(), sig)
}

// report is an installation report; serials that are nil in items succeed.
type report struct {
	correlation string
	code        string // of the device; OK succeeds
	items       map[uptane.ECUSerial]string
}

func result(code string) map[string]any {
	return map[string]any{"code": code, "description": "said " + code, "success": code == "OK"}
}

// manifest is the next manifest of a device, of those ECUs or of all.
func (v *device) manifest(r *report, only ...*ecu) []byte {
	v.f.t.Helper()
	v.counter++
	if only == nil {
		only = v.ecus
	}
	parts := map[string]any{}
	for _, e := range only {
		part := map[string]any{
			"attacks_detected": e.attack, "ecu_serial": e.serial, "timeserver_time": "1970-01-01T00:00:00Z",
			"previous_timeserver_time": "1970-01-01T00:00:00Z",
			"installed_image": map[string]any{"filepath": e.runs.Filename, "fileinfo": map[string]any{
				"hashes": map[string]any{"sha256": e.runs.SHA256()}, "length": e.runs.Length}},
		}
		if e == v.ecus[0] {
			part["report_counter"] = strconv.Itoa(v.counter)
		}
		parts[string(e.serial)] = signed(v.f.t, e.key, part)
	}
	payload := map[string]any{"primary_ecu_serial": v.ecus[0].serial, "ecu_version_manifests": parts}
	if r != nil {
		items := []any{}
		for serial, code := range r.items {
			items = append(items, map[string]any{"ecu": serial, "result": result(code)})
		}
		payload["installation_report"] = map[string]any{
			"content_type": "application/vnd.com.here.otac.installationReport.v1",
			"report":       map[string]any{"correlation_id": r.correlation, "items": items, "raw_report": "text", "result": result(r.code)},
		}
	}
	return signed(v.f.t, v.ecus[0].key, payload)
}

// report sends a manifest that must be accepted.
func (v *device) report(r *report, only ...*ecu) {
	v.f.t.Helper()
	if err := v.f.ReceiveManifest(v.f.t.Context(), ns, v.id, v.manifest(r, only...)); err != nil {
		v.f.t.Fatalf("manifest of %s: %v", v.oemid, err)
	}
}

func (v *device) get(name string) []byte {
	v.f.t.Helper()
	doc, err := v.f.Metadata(v.f.t.Context(), ns, v.id, name)
	if err != nil {
		v.f.t.Fatalf("getting %s of %s: %v", name, v.oemid, err)
	}
	return doc
}

// ring is the trust in a role that the latest root gives.
func (f *fleet) ring(role uptane.Role) uptane.Keyring {
	f.t.Helper()
	raw, err := f.keys.Root(f.t.Context(), ns, uptane.DirectorRepository, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	root, err := uptane.OpenRoot(uptane.Uptane, raw, nil, f.clock.now())
	if err != nil {
		f.t.Fatal(err)
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, role)
	if err != nil {
		f.t.Fatal(err)
	}
	return ring
}

// poll is what a device sees in targets.json, checked as it checks it.
func (v *device) poll() metadata.TargetsType {
	v.f.t.Helper()
	d, err := uptane.Open[metadata.TargetsType](uptane.Uptane, v.get("targets.json"), uptane.RoleTargets, v.f.ring(uptane.RoleTargets), v.f.clock.now())
	if err != nil {
		v.f.t.Fatal(err)
	}
	custom, err := uptane.DirectorCustomOf(&d.Payload)
	if err != nil || custom.VehicleID != v.oemid || (custom.CorrelationID == "") != (len(d.Payload.Targets) == 0) {
		v.f.t.Fatalf("custom of %s: %+v, %v", v.oemid, custom, err)
	}
	return d.Payload
}

// offered is what a poll assigns: ECU serial to file name.
func (v *device) offered() map[uptane.ECUSerial]string {
	v.f.t.Helper()
	targets := v.poll()
	hardware := map[uptane.ECUSerial]uptane.HardwareID{}
	for _, e := range v.ecus {
		hardware[e.serial] = e.hardware
	}
	list, err := uptane.CheckAssignments(&targets, hardware)
	if err != nil {
		v.f.t.Fatal(err)
	}
	out := map[uptane.ECUSerial]string{}
	for serial, t := range list {
		out[serial] = t.Filename
		if err := uptane.MatchImage(t, v.f.images[t.Filename], hardware[serial]); err != nil {
			v.f.t.Fatal(err)
		}
	}
	return out
}

func correlationOf(t *testing.T, targets metadata.TargetsType) string {
	t.Helper()
	c, err := uptane.DirectorCustomOf(&targets)
	if err != nil {
		t.Fatal(err)
	}
	return c.CorrelationID
}

// assign creates an update and assigns it to the devices, which must get it.
func (f *fleet) assign(images map[uptane.HardwareID]string, devices ...*device) director.Update {
	f.t.Helper()
	targets := map[uptane.HardwareID]director.UpdateTarget{}
	for hw, name := range images {
		targets[hw] = director.UpdateTarget{To: director.Image{Filename: name}}
	}
	u, err := f.CreateUpdate(f.t.Context(), ns, "test", targets)
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []uptane.DeviceID
	for _, v := range devices {
		ids = append(ids, v.id)
	}
	res, err := f.Assign(f.t.Context(), ns, director.AssignRequest{Update: u.ID, Devices: ids})
	if err != nil || len(res.Affected) != len(ids) {
		f.t.Fatalf("assigning: %+v, %v", res, err)
	}
	return u
}

// statuses are those of all assignments of a device: ECU serial to status,
// the newest counts.
func (v *device) statuses() map[uptane.ECUSerial]director.Status {
	v.f.t.Helper()
	list, err := v.f.Assignments(v.f.t.Context(), ns, v.id, 100, 0)
	if err != nil {
		v.f.t.Fatal(err)
	}
	out := map[uptane.ECUSerial]director.Status{}
	for _, a := range list {
		if _, newer := out[a.Serial]; !newer {
			out[a.Serial] = a.Status
		}
	}
	return out
}

// dump is everything the Director has stored.
func (f *fleet) dump() string {
	f.t.Helper()
	var b strings.Builder
	for _, table := range []string{"device", "ecu", "ecu_key", "update", "update_target", "assignment", "document", "report", "history"} {
		rows, err := f.db.QueryxContext(f.t.Context(), "SELECT * FROM director_"+table+" ORDER BY 1, 2, 3")
		if err != nil {
			f.t.Fatal(err)
		}
		for rows.Next() {
			values, err := rows.SliceScan()
			if err != nil {
				f.t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %q\n", table, values)
		}
		if err := rows.Close(); err != nil {
			f.t.Fatal(err)
		}
	}
	return b.String()
}

// unchanged fails the test when what do does leaves a trace.
func (f *fleet) unchanged(what string, do func()) {
	f.t.Helper()
	before := f.dump()
	do()
	if after := f.dump(); after != before {
		f.t.Errorf("%s changed the database:\n%s", what, after)
	}
}
