package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sealift/director"
	"sealift/keys"
	"sealift/registry"
)

// diagnose says in words why a device does not update, or what it runs; the
// most urgent first, never nothing.
func (f facts) diagnose() []finding {
	var list []finding
	add := func(more ...finding) { list = append(list, more...) }
	admitted, found := f.ofCertificates()
	add(found...)
	if len(f.ecus) == 0 {
		if admitted {
			add(f.ofArrival())
		}
		return byUrgency(list)
	}
	if admitted {
		add(f.ofContact()...)
	}
	for _, e := range f.ecus {
		add(f.ofECU(e)...)
	}
	return byUrgency(list)
}

// heard is when the device was heard of last, zero for never. Last-seen times
// are written a little later than the rest.
func (f facts) heard() time.Time {
	at := f.device.LastSeen
	for _, other := range []time.Time{f.director.ManifestAt, f.newestEvent()} {
		if other.After(at) {
			at = other
		}
	}
	return at
}

func (f facts) newestEvent() time.Time {
	if len(f.events) == 0 {
		return time.Time{}
	}
	return f.events[0].ReceivedAt
}

// ofCertificates tells whether the gateway lets the device in, and why not.
func (f facts) ofCertificates() (admitted bool, list []finding) {
	var newest *keys.Certificate
	var revoked time.Time
	for _, c := range f.certificates {
		if !c.Revoked.IsZero() {
			if c.Revoked.After(revoked) {
				revoked = c.Revoked
			}
			continue
		}
		if newest == nil || c.NotAfter.After(newest.NotAfter) {
			newest = &c
		}
	}
	if newest == nil {
		return false, []finding{f.ofNoCertificate(revoked)}
	}
	again := fmt.Sprintf("sealift device reset %s, then let it provision itself again", f.device.OEMID)
	switch {
	case !newest.NotAfter.After(f.now):
		return false, []finding{finding{Code: "certificate_expired", Level: levelError, Advice: again,
			Text: fmt.Sprintf("its certificate expired at %s; the gateway turns it away", clock(f.now, newest.NotAfter))}.since(newest.NotAfter)}
	case newest.NotAfter.Before(f.now.Add(certificateNotice)):
		return true, []finding{{Code: "certificate_expiring", Level: levelWarning, Advice: again,
			Text: fmt.Sprintf("its certificate expires in %s", span(newest.NotAfter.Sub(f.now)))}}
	}
	return true, nil
}

// ofNoCertificate is about a device that has none in force.
func (f facts) ofNoCertificate(revoked time.Time) finding {
	switch {
	case revoked.IsZero():
		return finding{Code: "certificate_missing", Level: levelWaiting, Text: fmt.Sprintf("made known %s; it has no certificate yet", ago(f.now, f.device.CreatedAt))}
	case len(f.ecus) == 0 && !f.device.ActivatedAt.IsZero(): // what a reset leaves
		return finding{Code: "device_reset", Level: levelWaiting,
			Text: fmt.Sprintf("reset at %s; it may provision itself again with the shared certificate", clock(f.now, revoked))}.since(revoked)
	}
	return finding{Code: "certificate_revoked", Level: levelError, Advice: fmt.Sprintf("sealift device reset %s lets it provision itself again", f.device.OEMID),
		Text: fmt.Sprintf("its certificate was revoked at %s; the gateway turns it away", clock(f.now, revoked))}.since(revoked)
}

// ofArrival is about a device with a certificate that has no ECUs registered.
func (f facts) ofArrival() finding {
	if heard := f.heard(); !heard.IsZero() {
		return finding{Code: "not_registered", Level: levelWarning, Advice: "look at the device's log for the answer to POST /director/ecus",
			Text: fmt.Sprintf("last heard of %s, but it has not registered its ECUs", ago(f.now, heard))}.since(heard)
	}
	return finding{Code: "never_seen", Level: levelWarning, Advice: "look at the device's network, clock and log",
		Text: fmt.Sprintf("never seen: it got a certificate %s and has not called the gateway with it", ago(f.now, f.certificates[0].Issued))}.since(f.device.CreatedAt)
}

// ofContact tells whether the device still comes.
func (f facts) ofContact() []finding {
	heard := f.heard()
	silent := func(consequence string) []finding {
		text := "not polled since " + clock(f.now, heard)
		if heard.IsZero() {
			text = "not polled since it registered its ECUs at " + clock(f.now, f.registeredAt())
		}
		return []finding{finding{Code: "not_polled", Level: levelWarning, Advice: "look whether the device is switched on and reaches the gateway", Text: text + consequence}.since(heard)}
	}
	waits := func(a director.Assignment) bool {
		return a.Status == director.Assigned && !heard.After(a.CreatedAt) && f.now.Sub(a.CreatedAt) > pollGrace
	}
	switch {
	case slices.ContainsFunc(f.open, waits):
		return silent(", so it does not know of its update")
	case f.now.Sub(heard) > silence && f.now.Sub(f.registeredAt()) > silence && !f.rebooting():
		return silent("")
	case f.director.ManifestAt.IsZero() && f.now.Sub(f.registeredAt()) > pollGrace:
		return []finding{finding{Code: "no_manifest", Level: levelWarning, Advice: "look at the device's log for the answer to PUT /director/manifest",
			Text: "it registered its ECUs but has not sent a manifest that was accepted"}.since(f.registeredAt())}
	}
	return nil
}

func (f facts) registeredAt() time.Time { return f.ecus[0].RegisteredAt }

// rebooting reports whether an ECU is waiting for its reboot: the device is
// silent then.
func (f facts) rebooting() bool {
	return slices.ContainsFunc(f.open, func(a director.Assignment) bool {
		e, ok := f.progress(a)
		return a.Status == director.NeedsCompletion || ok && e.Type == "EcuInstallationApplied"
	})
}

// ofECU is about one ECU: what it has to do, else how the last update ended,
// else what it runs and could run.
func (f facts) ofECU(e director.ECU) []finding {
	var list []finding
	if e.Attacks != "" {
		list = append(list, finding{Code: "attack_reported", Level: levelError, ECU: e.Serial, Text: "the ECU reports an attack: " + e.Attacks})
	}
	for _, a := range f.open {
		if role := f.moved[a.Image.Filename]; a.Serial == e.Serial && role != "" {
			g := f.ofDelegated(fmt.Sprintf("%s has moved into the delegated role %s", a.Image.Filename, role)).since(a.CreatedAt)
			g.ECU, g.Level, g.Advice = e.Serial, levelError, "sealift update cancel "+a.Update+", or sign the image at the top level again"
			return append(list, g)
		}
		if a.Serial == e.Serial {
			g := f.ofAssignment(a)
			g.ECU = e.Serial
			return append(list, g)
		}
	}
	g := f.ofRest(e)
	g.ECU = e.Serial
	return append(list, g)
}

// ofRest is about an ECU with nothing to do.
func (f facts) ofRest(e director.ECU) finding {
	for _, a := range f.assignments {
		if a.Serial != e.Serial {
			continue
		}
		if a.Status == director.Failed {
			return finding{Code: "failed", Level: levelError, Advice: "sealift device events " + string(f.device.OEMID) + "; after mending it, create the update again",
				Text: fmt.Sprintf("installing %s failed at %s: %s%s", a.Image.Filename, clock(f.now, a.EndedAt), a.Code, after(": ", a.Description))}.since(a.EndedAt)
		}
		if a.Status == director.Cancelled && a.HardwareID != e.HardwareID {
			return finding{Code: "hardware_mismatch", Level: levelWarning,
				Text: fmt.Sprintf("%s was for hardware id %q, but the ECU has %q now", a.Image.Filename, string(a.HardwareID), string(e.HardwareID))}.since(a.EndedAt)
		}
		if a.Status == director.Cancelled && a.Code == director.CodeDelegatedImage {
			return f.ofDelegated(a.Image.Filename + " was taken back: it is in a delegated role").since(a.EndedAt)
		}
		break
	}
	newest, ok := f.suited(e.HardwareID)
	_, delegated := f.images.newest[e.HardwareID]
	switch {
	case !ok && delegated && f.images.whole:
		return f.ofDelegated(fmt.Sprintf("%s; what is signed for its hardware id %q is in delegated roles", runs(e), string(e.HardwareID)))
	case !ok && len(f.images.newest) > 0 && f.images.whole:
		l := levelWarning
		if !e.Primary { // many Secondaries are never updated
			l = levelHint
		}
		return finding{Code: "hardware_mismatch", Level: l, Advice: "sign the image for this hardware id, or mend the device's configuration",
			Text: fmt.Sprintf("no signed target for its hardware id %q; those there are, are for %s", string(e.HardwareID), quoted(f.images.hardwareIDs()))}
	case ok && e.Installed != nil && e.Installed.Filename != newest:
		return finding{Code: "not_assigned", Level: levelHint, Advice: fmt.Sprintf("sealift update create --device %s --target %s", f.device.OEMID, newest),
			Text: fmt.Sprintf("%s; %s is signed for it and not assigned", runs(e), newest)}
	case e.Installed == nil:
		return finding{Code: "not_reported", Level: levelWarning, Text: runs(e)}
	}
	return finding{Code: "up_to_date", Level: levelOK, Text: runs(e)}.since(e.InstalledAt)
}

// ofDelegated is about an image that a device with Secondaries cannot have.
func (f facts) ofDelegated(what string) finding {
	return finding{Code: "image_delegated", Level: levelWarning, Advice: "sign an image for it at the top level: sealift target add",
		Text: what + ", and the device has Secondaries, which know the top level only and would refuse every update with it"}
}

// ofAssignment is about something an ECU has yet to do.
func (f facts) ofAssignment(a director.Assignment) finding {
	name := a.Image.Filename
	if a.Status == director.Assigned {
		if f.heard().After(a.CreatedAt.Add(pollGrace)) {
			return finding{Code: "not_fetched", Level: levelWarning, Advice: "it may wait for a reboot, or refuse the server's metadata: look at its log",
				Text: fmt.Sprintf("%s assigned %s; it has called since, but not asked for its targets", name, ago(f.now, a.CreatedAt))}.since(a.CreatedAt)
		}
		return finding{Code: "assigned", Level: levelWaiting,
			Text: fmt.Sprintf("%s assigned %s; the next poll fetches it", name, ago(f.now, a.CreatedAt))}.since(a.CreatedAt)
	}
	e, ok := f.progress(a)
	if a.Status == director.NeedsCompletion || ok && e.Type == "EcuInstallationApplied" {
		at := e.ReceivedAt
		if !ok {
			at = a.OfferedAt
		}
		return finding{Code: "waiting_for_reboot", Level: levelWarning, Advice: "reboot the device",
			Text: fmt.Sprintf("%s installed, waiting for reboot since %s", name, clock(f.now, at))}.since(at)
	}
	if ok {
		return f.ofProgress(name, e)
	}
	if f.now.Sub(a.OfferedAt) > pollGrace {
		return finding{Code: "no_progress", Level: levelWarning, Advice: "look at the device's log: it may refuse the metadata, lack room or fail to download",
			Text: fmt.Sprintf("%s offered at %s, but no progress has been reported", name, clock(f.now, a.OfferedAt))}.since(a.OfferedAt)
	}
	return finding{Code: "offered", Level: levelWaiting, Text: fmt.Sprintf("%s offered %s", name, ago(f.now, a.OfferedAt))}.since(a.OfferedAt)
}

// progress is the newest event about an assignment since it was offered. An
// ECU that has sent manifests after it was applied is not waiting for a reboot
// any more.
func (f facts) progress(a director.Assignment) (newest registry.Event, ok bool) {
	for _, e := range f.events {
		if e.Correlation != a.Correlation || e.ECU != "" && e.ECU != string(a.Serial) || e.ReceivedAt.Before(a.OfferedAt) {
			continue
		}
		if steps[e.Type].words == "" {
			continue
		}
		if e.Type == "EcuInstallationApplied" && a.Status != director.NeedsCompletion && f.director.ManifestAt.After(e.ReceivedAt) {
			continue
		}
		if !ok || later(e, newest) {
			newest, ok = e, true
		}
	}
	return newest, ok
}

// later orders events that may have come in one batch and within one second.
func later(a, b registry.Event) bool {
	if n := a.ReceivedAt.Compare(b.ReceivedAt); n != 0 {
		return n > 0
	}
	if n := a.DeviceTime.Compare(b.DeviceTime); n != 0 {
		return n > 0
	}
	return steps[a.Type].order > steps[b.Type].order
}

// steps are the events of an installation, in order and in words.
var steps = map[string]struct {
	order int
	words string
}{
	"EcuDownloadStarted":       {1, "downloading"},
	"EcuDownloadCompleted":     {2, "downloaded, not installed yet"},
	"EcuInstallationStarted":   {3, "installing"},
	"EcuInstallationApplied":   {4, "installed, not running yet"},
	"EcuInstallationCompleted": {5, "installed; the manifest that says so has not come"},
}

// ofProgress words the step an installation is at.
func (f facts) ofProgress(name string, e registry.Event) finding {
	var payload struct {
		Success *bool `json:"success"`
	}
	if json.Unmarshal([]byte(e.Payload), &payload) == nil && payload.Success != nil && !*payload.Success {
		return finding{Code: "step_failed", Level: levelError, Advice: "sealift device events " + string(f.device.OEMID),
			Text: fmt.Sprintf("%s: %s failed at %s", name, e.Type, clock(f.now, e.ReceivedAt))}.since(e.ReceivedAt)
	}
	l := levelWaiting
	if f.now.Sub(e.ReceivedAt) > stall {
		l = levelWarning
	}
	return finding{Code: "in_progress", Level: l, Text: fmt.Sprintf("%s: %s since %s", name, steps[e.Type].words, clock(f.now, e.ReceivedAt))}.since(e.ReceivedAt)
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}
