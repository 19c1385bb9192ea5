package director_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
)

func TestRefusedManifests(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		f.images.add("p-2", 5, "hw-p")
		v := f.device("car", "hw-p", "hw-s")
		other := f.device("other", "hw-p")
		v.report(nil)
		f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
		v.poll()
		v.ecus[0].runs = f.images["p-2"]
		if err := f.Close(t.Context()); err != nil { // counters are on disk
			t.Fatal(err)
		}

		foreign := *v.ecus[1]
		foreign.serial = "not-mine"
		forged := *v.ecus[1]
		forged.key = newKey(t)
		impostor := device{f: f, id: v.id, ecus: []*ecu{v.ecus[1], v.ecus[0]}}
		thief := device{f: f, id: v.id, ecus: []*ecu{{serial: v.ecus[0].serial, key: newKey(t)}}}
		good := v.manifest(nil)
		tests := []struct {
			name string
			raw  []byte
			id   uptane.DeviceID
			want *fault.Fault
		}{
			{"unknown device", good, "id-nobody", director.ErrNotRegistered},
			{"another device's manifest", good, other.id, director.ErrNotPrimary},
			{"no JSON", []byte("hello"), v.id, director.ErrSignature},
			{"empty", nil, v.id, director.ErrSignature},
			{"no signatures", []byte(`{"signatures":[],"signed":{}}`), v.id, director.ErrSignature},
			{"altered inside signed", bytes.Replace(good, []byte(`"p-2"`), []byte(`"p-3"`), 1), v.id, director.ErrSignature},
			{"foreign ECU", v.manifest(nil, v.ecus[0], &foreign), v.id, director.ErrUnknownECU},
			{"forged Secondary", v.manifest(nil, v.ecus[0], &forged), v.id, director.ErrSignature},
			{"Secondary as Primary", impostor.manifest(nil), v.id, director.ErrNotPrimary},
			{"wrong key of the Primary", thief.manifest(nil), v.id, director.ErrSignature},
			{"Primary does not report itself", v.manifest(nil, v.ecus[1]), v.id, director.ErrSignature},
		}
		for _, tt := range tests {
			f.unchanged(tt.name, func() {
				err := f.ReceiveManifest(t.Context(), ns, tt.id, tt.raw)
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
				}
				if errors.Is(err, tt.want) && fault.Status(err) >= 500 {
					t.Errorf("%s: status %d", tt.name, fault.Status(err))
				}
			})
		}
		f.journal.fail = errors.New("disk on fire")
		f.unchanged("a failing journal", func() {
			if err := f.ReceiveManifest(t.Context(), ns, v.id, good); err == nil {
				t.Error("accepted though the journal failed")
			}
		})
		f.journal.fail = nil
		if err := f.ReceiveManifest(t.Context(), ns, v.id, good); err != nil {
			t.Errorf("the good one: %v", err)
		}
	})
}

func TestReplay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw-p", "hw-s")
		first, second, third := v.manifest(nil), v.manifest(nil), v.manifest(nil)
		send := func(d *director.Director, raw []byte) error { return d.ReceiveManifest(t.Context(), ns, v.id, raw) }
		if err := send(f.Director, second); err != nil {
			t.Fatal(err)
		}
		f.unchanged("the same bytes, an older manifest, and one that says nothing new", func() {
			if err := send(f.Director, second); err != nil {
				t.Errorf("same bytes: %v", err)
			}
			if err := send(f.Director, first); !errors.Is(err, director.ErrReplay) {
				t.Errorf("older counter: %v", err)
			}
			if err := send(f.Director, third); err != nil {
				t.Errorf("nothing new: %v", err)
			}
			if err := send(f.Director, second); !errors.Is(err, director.ErrReplay) {
				t.Errorf("older than what is only in memory: %v", err)
			}
		})
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		replica := f.replica()
		f.unchanged("after the flush, at another replica", func() {
			if err := send(replica, second); !errors.Is(err, director.ErrReplay) {
				t.Errorf("flushed counter: %v", err)
			}
			if err := send(replica, third); err != nil {
				t.Errorf("same bytes as last accepted: %v", err)
			}
		})
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		if err := send(f.Director, first); err != nil {
			t.Errorf("after registering the counter starts again: %v", err)
		}
		list, err := f.History(t.Context(), ns, v.id, 1, 0)
		if err != nil || len(list) != 1 || !strings.Contains(string(list[0].Detail), `"counterRestarted":true`) {
			t.Errorf("history %+v, %v", list, err)
		}
	})
}

// TestGatheredCounters: what is flushed never takes back what is newer.
func TestGatheredCounters(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	v := f.device("car", "hw")
	v.report(nil)
	idle := v.manifest(nil)
	if err := f.ReceiveManifest(t.Context(), ns, v.id, idle); err != nil { // in memory alone
		t.Fatal(err)
	}
	replica := f.replica()
	v.ecus[0].runs.Filename = "else"
	if err := replica.ReceiveManifest(t.Context(), ns, v.id, v.manifest(nil)); err != nil {
		t.Fatal(err)
	}
	f.unchanged("flushing an older counter", func() {
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if err := f.ReceiveManifest(t.Context(), ns, v.id, idle); !errors.Is(err, director.ErrReplay) {
		t.Errorf("the flushed manifest again: %v", err)
	}
	idle = v.manifest(nil)
	if err := f.ReceiveManifest(t.Context(), ns, v.id, idle); err != nil {
		t.Fatal(err)
	}
	v.counter = 0
	if err := v.register(); err != nil {
		t.Fatal(err)
	}
	f.unchanged("flushing a counter of before the registration", func() {
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	v.report(nil)
}

// TestParallelManifests: one of many different manifests with one counter wins.
func TestParallelManifests(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("car", "hw")
		var all [][]byte
		for i := range 8 {
			v.counter = 0
			v.ecus[0].runs.Filename = "image-" + string(rune('a'+i))
			all = append(all, v.manifest(nil))
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		accepted := 0
		for _, raw := range all {
			wg.Go(func() {
				err := f.ReceiveManifest(context.Background(), ns, v.id, raw)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					accepted++
				} else if !errors.Is(err, director.ErrReplay) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if accepted != 1 {
			t.Errorf("%d of 8 manifests with the same counter were accepted", accepted)
		}
	})
}

func TestAttackIsKept(t *testing.T) {
	f := newFleet(t, dbtest.SQLite(t))
	v := f.device("car", "hw")
	v.ecus[0].attack = "bad \x1b[31mmetadata"
	v.report(nil)
	_, ecus, err := f.Device(t.Context(), ns, v.id)
	if err != nil || ecus[0].Attacks != v.ecus[0].attack {
		t.Errorf("attacks %q, %v", ecus[0].Attacks, err)
	}
	f.unchanged("the same again", func() { v.report(nil) })
	list, err := f.History(t.Context(), ns, v.id, 10, 0)
	if err != nil || len(list) != 2 || list[0].Action != "attack_reported" {
		t.Errorf("history %+v, %v", list, err)
	}
}
