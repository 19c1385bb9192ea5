package director

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// Clients read at most maxTargets bytes of Director targets; signatureRoom of
// them is left to what comes around the payload.
const (
	maxTargets    = 64 << 10
	signatureRoom = 4 << 10
)

// listable picks the assignments that a device is to be told about. An ECU
// that runs a file of that name already is never listed: clients give the
// whole update up when one is, unless the image came to the very same set of
// ECUs before.
func listable(open []assignmentRow, ecus []ecuRow) []assignmentRow {
	var list []assignmentRow
	for _, a := range open {
		i := slices.IndexFunc(ecus, func(e ecuRow) bool { return e.Serial == a.Serial })
		if i < 0 || a.Status == NeedsCompletion || ecus[i].HardwareID != a.HardwareID || ecus[i].Filename == a.Filename {
			continue
		}
		list = append(list, a)
	}
	return list
}

// entries makes one entry a file name, which names exactly the ECUs that
// still need it.
func entries(list []assignmentRow) (map[string]*metadata.TargetFiles, error) {
	targets := map[string]uptane.Target{}
	for _, a := range list {
		t, ok := targets[a.Filename]
		if !ok {
			image, err := decodeTarget(a.Filename, a.Target)
			if err != nil {
				return nil, err
			}
			t = uptane.Target{Filename: a.Filename, Length: image.Length, Hashes: image.Hashes, Custom: uptane.Custom{
				TargetFormat: image.Custom.TargetFormat, ReleaseCounter: image.Custom.ReleaseCounter,
				URI: a.URI, ECUs: map[uptane.ECUSerial]uptane.HardwareID{},
			}}
		}
		t.Custom.ECUs[a.Serial] = a.HardwareID
		targets[a.Filename] = t
	}
	files := map[string]*metadata.TargetFiles{}
	for name, t := range targets {
		file, err := t.File()
		if err != nil {
			return nil, err
		}
		files[name] = file
	}
	return files, nil
}

// targetsPayload writes the Director targets of one device.
func targetsPayload(version int64, expires time.Time, oemid uptane.OEMID, correlation string, list []assignmentRow) ([]byte, error) {
	t := metadata.Targets(expires).Signed
	t.Version = version
	var err error
	if t.Targets, err = entries(list); err != nil {
		return nil, fmt.Errorf("writing targets: %w", err)
	}
	uptane.DirectorCustom{CorrelationID: correlation, VehicleID: oemid}.SetOn(&t)
	return uptane.Payload(uptane.Uptane, uptane.RoleTargets, &t)
}

// fitting is how many of the new assignments a device's targets have room
// for besides those that are open.
func fitting(oemid uptane.OEMID, f facts, added []assignmentRow) (int, error) {
	var failed error
	tooMany := sort.Search(len(added), func(n int) bool {
		list := listable(append(slices.Clip(f.open), added[:n+1]...), f.ecus)
		longest := newSet()
		for _, a := range list {
			if len(a.Correlation) > len(longest) {
				longest = a.Correlation
			}
		}
		payload, err := targetsPayload(uptane.MaxVersion, time.Unix(0, 0).UTC(), oemid, longest, list)
		failed = errors.Join(failed, err)
		return len(payload) > maxTargets-signatureRoom
	})
	return tooMany, failed
}

// correlations are the distinct ids of assignments, sorted.
func correlations(list []assignmentRow) []string {
	set := map[string]bool{}
	for _, a := range list {
		set[a.Correlation] = true
	}
	return slices.Sorted(maps.Keys(set))
}
