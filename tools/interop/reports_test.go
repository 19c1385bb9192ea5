//go:build aktualizr

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"sealift/director"
	"sealift/fixtures/fault"
	"sealift/uptane"
)

// posted are the ids of each batch of events since the last call.
func (e *ear) posted(t *testing.T) (batches [][]string) {
	t.Helper()
	for _, body := range e.take("/events") {
		var list []struct {
			ID string `json:"id"`
		}
		must(t, json.Unmarshal(body, &list))
		var ids []string
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		batches = append(batches, ids)
	}
	return batches
}

// eventIDs are those that the server has of a device, each as often as it has it.
func (l *liar) eventIDs(t *testing.T, id string) map[string]int {
	t.Helper()
	list, _, err := l.services.Registry.Events(t.Context(), ns, uptane.DeviceID(id), "", 0, 500)
	must(t, err)
	have := map[string]int{}
	for _, e := range list {
		have[e.ID]++
	}
	return have
}

func distinct(batches [][]string) map[string]bool {
	ids := map[string]bool{}
	for _, id := range slices.Concat(batches...) {
		ids[id] = true
	}
	return ids
}

// lost lets the honest server do its work and loses its answer.
func lost(at string) fault.Lie {
	return fault.Lie{Path: at, Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		honest.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	}}
}

// eventTroubles: what becomes of events that the server does not take.
func eventTroubles(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-14", hwid: "board"})
	release := 0
	update := func(lies ...fault.Lie) (s sayings, batches [][]string) {
		release++
		l.uploadBinary(t, "app", fmt.Sprint(release), "board", fmt.Sprintf("application %d", release))
		l.launch(t, id, map[string]string{"board": fmt.Sprintf("app-%d", release)})
		l.ear.posted(t)
		l.Tell(lies...)
		s = l.once(t, b)
		if got := l.installed(t, id)["truck-14-primary"]; got != fmt.Sprintf("app-%d", release) {
			t.Errorf("it runs %q after update %d\n%s", got, release, s.log)
		}
		return s, l.ear.posted(t)
	}
	kept := map[string]bool{}
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadRequest} {
		_, batches := update(fault.Status("/events", status))
		last := batches[len(batches)-1]
		maps.Copy(kept, distinct(batches))
		if len(last) != len(kept) || len(kept) != 4*release {
			t.Errorf("status %d: %d events, the last batch has %d of them, want all %d again and again", status, len(kept), len(last), 4*release)
		}
	}
	if have := l.eventIDs(t, id); len(have) != 0 {
		t.Errorf("the server has %v", have)
	}
	l.Tell(lost("/events")) // it stores them, and the device does not know
	l.once(t, b)
	repeated := len(l.ear.posted(t))
	l.Honest()
	l.once(t, b)
	if batches := l.ear.posted(t); len(batches) != 1 {
		t.Errorf("honest again: %d batches", len(batches))
	}
	have := l.eventIDs(t, id)
	if !maps.EqualFunc(have, kept, func(n int, _ bool) bool { return n == 1 }) || repeated < 2 {
		t.Errorf("of %d events, sent %d times, the server has %v", len(kept), repeated+1, have)
	}
	_, batches := update(fault.Status("/events", http.StatusNotFound))
	dropped := distinct(batches)
	l.Honest()
	l.once(t, b)
	if after := l.ear.posted(t); len(after) != 0 || len(dropped) != 4 {
		t.Errorf("404: %d events were dropped, then came %v", len(dropped), after)
	}
	halved := l.tooManyEvents(t, b, id, update)
	return fmt.Sprintf("500, 400: %d kept and sent again, stored once each after a lost answer; 404: %d dropped; 413: batches of %v; updates go on", len(kept), len(dropped), halved)
}

// tooManyEvents: batches are halved until they are taken; one event that is too
// much is dropped.
func (l *liar) tooManyEvents(t *testing.T, b *board, id string, update func(...fault.Lie) (sayings, [][]string)) (sizes []int) {
	t.Helper()
	tooLarge := func(than int) fault.Lie {
		return fault.Lie{Path: "/events", Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
			var list []json.RawMessage
			body := new(bytes.Buffer)
			_, _ = body.ReadFrom(r.Body)
			if json.Unmarshal(body.Bytes(), &list) != nil || len(list) > than {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			r.Body = io.NopCloser(body)
			honest.ServeHTTP(w, r)
		}}
	}
	_, batches := update(fault.Status("/events", http.StatusBadRequest))
	want := distinct(batches)
	l.Tell(tooLarge(1))
	stop := b.daemon(t)
	defer stop()
	eventually(t, "every event is taken, one by one", func() bool {
		have := l.eventIDs(t, id)
		for e := range want {
			if have[e] == 0 {
				return false
			}
		}
		return true
	})
	stop()
	for _, batch := range l.ear.posted(t) {
		sizes = append(sizes, len(batch))
	}
	if len(sizes) < 3 || sizes[0] != 4 || slices.Min(sizes) != 1 {
		t.Errorf("batches of %v", sizes)
	}
	s, _ := update(tooLarge(0))
	s.says(t, "cannot digest it (413)")
	return sizes
}

// manifestTroubles: a report is repeated until it is acknowledged, and counts once.
func manifestTroubles(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-15", hwid: "board"})
	ended := func() director.Assignment {
		t.Helper()
		list, err := l.services.Director.Assignments(t.Context(), ns, uptane.DeviceID(id), 100, 0)
		must(t, err)
		return list[0]
	}
	var counts []int
	for i, c := range []struct {
		status string // after the first cycle
		lie    func(at string) fault.Lie
	}{
		{"installed", lost},
		{"offered", func(at string) fault.Lie { return fault.Status(at, http.StatusInternalServerError) }},
	} {
		image := fmt.Sprintf("app-%d", i+1)
		l.uploadBinary(t, "app", fmt.Sprint(i+1), "board", "application "+image)
		update := l.launch(t, id, map[string]string{"board": image})
		l.Tell(whenReporting(c.lie("/director/manifest")))
		s := l.once(t, b)
		if len(s.reports) != 3 {
			t.Errorf("%s: reported %d times, want 3: %v\n%s", image, len(s.reports), s.requests, s.log)
		}
		if got := l.assignments(t, update)["truck-15-primary"]; got != c.status {
			t.Errorf("%s: the server says %q, want %q", image, got, c.status)
		}
		before := ended()
		l.Honest()
		again := l.once(t, b)
		if len(again.reports) == 0 || again.reports[0].Correlation != s.reports[0].Correlation || !again.reports[0].Result.Success {
			t.Errorf("%s: then it reports %v", image, again.reports)
		}
		counts = append(counts, len(s.reports)+len(again.reports))
		l.ended(t, update, "truck-15-primary", "installed")
		if after := ended(); c.status == "installed" && fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("a repeated report changed %+v to %+v", before, after)
		}
		if quiet := l.once(t, b); len(quiet.reports) > 0 {
			t.Errorf("%s: acknowledged, and reported again", image)
		}
	}
	return fmt.Sprintf("answer lost: reported %d times, counted once; 500: reported %d times, then installed", counts[0], counts[1])
}

// whenReporting tells a lie only where a manifest has a report.
func whenReporting(lie fault.Lie) fault.Lie {
	answer := lie.Answer
	lie.Answer = func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		has := bytes.Contains(body.Bytes(), []byte(`"installation_report"`))
		if r.Body = io.NopCloser(body); has {
			answer(w, r, honest)
			return
		}
		honest.ServeHTTP(w, r)
	}
	return lie
}
