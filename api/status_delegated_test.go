package api_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/access"
	"sealift/fixtures/device"
	"sealift/internal/home"
	"sealift/uptane"
)

// Images have moved into a delegated role, and a device that gets them from there
// gets a Secondary. It goes on; what it cannot have any more is taken back, and who
// looks is told why. Where the images of such a device are moved behind the
// server's back, it is told, too, before anybody looks for long.
func TestADeviceGetsASecondaryAfterTheSplit(t *testing.T) {
	s := newServer(t)
	supplier := newSigner(t)
	key, err := uptane.NewKey(supplier.Public())
	check(t, err)
	s.release("gateway-1", "hw-g")
	s.release("gateway-2", "hw-g")
	stored, err := s.repo.PutImage(t.Context(), ns, "brake-1", -1, strings.NewReader("firmware"), "test")
	check(t, err)
	sum, err := hex.DecodeString(stored.SHA256)
	check(t, err)
	check(t, s.image.AddTarget(uptane.Target{Filename: "brake-1", Length: stored.Length, Hashes: metadata.Hashes{"sha256": sum},
		Custom: uptane.Custom{Name: "brake", Version: "1", HardwareIDs: []uptane.HardwareID{"hw-b"}, TargetFormat: uptane.FormatBinary}}))
	check(t, s.image.Delegate(home.Delegation{Name: "gateways", Paths: []string{"gateway-*"}, Keys: []uptane.Key{key}, Threshold: 1}))
	s.sign()
	config := device.Config{Archive: s.archive, OEMID: "truck", Primary: device.ECU{HardwareID: "hw-g"}, Dir: t.TempDir(), Now: s.now, Backoff: time.Millisecond}
	truck := s.start(config)
	_, err = truck.Poll(t.Context())
	check(t, err)
	s.expect("truck", "hint not_assigned", "gateway-2 is signed for it")

	said := s.ask(access.Admin, http.StatusOK, http.MethodPost, "/api/v1/user_repo/trusted-delegations/gateways/split", `{}`)
	role, err := base64.StdEncoding.DecodeString(fmt.Sprint(at(said, "unsigned_delegation_base64")))
	check(t, err)
	s.ask(access.Admin, http.StatusNoContent, http.MethodPut, "/api/v1/user_repo/delegations/gateways.json", string(frame(t, role, supplier)))
	for _, name := range []string{"gateway-1", "gateway-2"} {
		check(t, s.image.DeleteTarget(name))
	}
	s.sign()
	s.expect("truck", "hint not_assigned", "gateway-2 is signed for it") // where it is does not matter to a device without Secondaries
	s.assign("truck", "hw-g", "gateway-1")
	s.install(truck)
	s.assign("truck", "hw-g", "gateway-2")

	truck.Close()
	config.Secondaries = []device.ECU{{HardwareID: "hw-b"}}
	truck = s.start(config)
	r, err := truck.Poll(t.Context())
	if err != nil || r.Outcome == device.Rebooting {
		t.Fatalf("a poll with a Secondary: %+v, %v", r, err)
	}
	s.expect("truck", "warning image_delegated: gateway-2 was taken back: it is in a delegated role, and the device has Secondaries", "brake-1 is signed for it")
	id := at(s.get("/api/v1/devices/truck"), "uuid")
	said = s.ask(access.Admin, http.StatusCreated, http.MethodPost, "/api/v1/updates", fmt.Sprintf(`{"targets":{"hw-g":"gateway-2"},"devices":[%q]}`, id))
	if text := fmt.Sprint(said); !strings.Contains(text, "affected:[] ") || !strings.Contains(text, "target_delegated") {
		t.Errorf("an assignment that would mix: %s", text)
	}
	s.assign("truck", "hw-b", "brake-1")
	s.install(truck)

	// An image of the top level helps; and moving that away without asking the server
	// does not stay unseen.
	s.release("gateway-3", "hw-g")
	s.assign("truck", "hw-g", "gateway-3")
	moved, err := s.repo.Target(t.Context(), ns, "gateway-3")
	check(t, err)
	payload, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, "gateways", role)
	check(t, err)
	payload.Version++
	payload.Targets["gateway-3"], err = moved.File()
	check(t, err)
	s.ask(access.Admin, http.StatusNoContent, http.MethodPut, "/api/v1/user_repo/delegations/gateways.json", string(seal(t, "gateways", payload, supplier)))
	check(t, s.image.DeleteTarget("gateway-3"))
	s.sign()
	s.expect("truck", "error image_delegated: gateway-3 has moved into the delegated role gateways")
}

// start makes a device that is closed at the end.
func (s *server) start(c device.Config) *device.Device {
	s.t.Helper()
	d, err := device.New(c)
	check(s.t, err)
	s.t.Cleanup(d.Close)
	return d
}

// install lets a device do what it was told, with the reboot that it takes.
func (s *server) install(d *device.Device) {
	s.t.Helper()
	r, err := d.Poll(s.t.Context())
	check(s.t, err)
	if r.Outcome == device.Rebooting {
		check(s.t, d.Reboot(s.t.Context()))
		_, err = d.Poll(s.t.Context())
		check(s.t, err)
	}
}
