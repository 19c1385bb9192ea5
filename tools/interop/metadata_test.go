//go:build aktualizr

package interop

import "testing"

// replayed: what was once true is no longer believed.
func replayed(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-7", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.launch(t, id, map[string]string{"board": "app-1"})
	b.once(t)
	director, images := l.Recorded("truck-7", "/director/"), l.Recorded("truck-7", "/repo/")
	l.uploadBinary(t, "app", "2", "board", "application two")
	l.launch(t, id, map[string]string{"board": "app-2"})
	b.cycle(t, "check", b.patience) // it knows the new metadata now, and does nothing yet

	l.Tell(director.Lies("/director/", "targets.json")...)
	l.observe(t, b, "once").refusedMetadata(t, "Rollback attempt")
	l.Tell(images.Lies("/repo/", "timestamp.json")...)
	l.observe(t, b, "once").refusedMetadata(t, "Rollback attempt")
	l.recovers(t, b, id, "truck-7-primary", "app-2")
	return "older Director targets, older timestamp: \"Rollback attempt\", no report; then app-2"
}
