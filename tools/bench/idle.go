package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// How much is asked in a turn: so many devices poll so many times each.
const (
	turns       = 9
	freshRiders = 500 // with new connections
	freshLaps   = 1
	keptRiders  = 256
	keptLaps    = 8
)

// fleetFigures registers a fleet, reads how much memory that takes, and races
// idle polls of some of its devices against other servers.
func fleetFigures(ctx context.Context, o options) (figures []figure, err error) {
	pinSelf(ctx)
	s, err := newServer(ctx, "")
	if err != nil {
		return nil, err
	}
	defer s.end()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	begin := time.Now()
	devices, err := s.register(ctx, o.devices)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	if err := s.stop(); err != nil {
		return nil, err
	}
	s.pinned = true
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := s.pollAll(ctx, devices); err != nil {
		return nil, err
	}
	time.Sleep(idleTime)
	memory, err := residentMB(s.process.Process.Pid)
	if err != nil {
		return nil, err
	}
	figures = []figure{
		{Name: "fleet_registration_rate", Value: float64(o.devices) / took.Seconds(), Unit: "devices/s", Samples: 1, Note: "from nothing to the first metadata, SQLite"},
		{Name: "fleet_resident_memory", Value: memory, Unit: "MB", Samples: 1, Note: fmt.Sprintf("%d registered devices, each of which has polled since the start", o.devices)},
	}
	races, err := s.races(ctx, devices)
	return append(figures, races...), err
}

func (s *server) races(ctx context.Context, devices []*rider) ([]figure, error) {
	dir := filepath.Join(s.dir, "rival")
	if err := os.MkdirAll(filepath.Join(dir, "www", "director"), 0o700); err != nil {
		return nil, err
	}
	clients, err := deviceAuthorities(ctx, "sqlite:"+filepath.Join(s.dir, "sealift-data", "sealift.db"))
	if err != nil {
		return nil, err
	}
	id, err := newIdentity(dir, clients)
	if err != nil {
		return nil, err
	}
	targets, err := s.targetsOf(ctx, devices[0])
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "www", "director", "targets.json"), targets, 0o600); err != nil {
		return nil, err
	}
	fresh, err := s.raceNginx(ctx, dir, id, devices[:min(freshRiders, len(devices))])
	if err != nil {
		return nil, err
	}
	riders := devices[:min(keptRiders, len(devices))]
	b, err := startBare(ctx, id, riders, targets)
	if err != nil {
		return nil, err
	}
	defer b.stop()
	kept, err := s.race(ctx, raceOf{name: "idle_kept_alive", rival: target{name: "bare net/http", address: b.address, pid: b.process.Process.Pid},
		riders: riders, laps: keptLaps, kept: true, goal: 0.5})
	return append(fresh, kept...), err
}

// targetsOf is what one device gets.
func (s *server) targetsOf(ctx context.Context, r *rider) ([]byte, error) {
	l, err := dial(ctx, s.gateway, &r.cert)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.ask(ask(http.MethodGet, "/director/targets.json", nil, http.StatusOK))
}

func (s *server) raceNginx(ctx context.Context, dir string, id identity, riders []*rider) ([]figure, error) {
	race := raceOf{name: "idle_new_tls", riders: riders, laps: freshLaps, goal: 1}
	if _, err := findNginx(); err != nil {
		f := race.figure()
		f.Missing = err.Error()
		return []figure{f}, nil
	}
	n, err := startNginx(ctx, dir, id, "", true)
	if err != nil {
		return nil, err
	}
	defer n.stop()
	race.rival = target{name: "nginx", address: n.address, pid: n.process.Process.Pid}
	return s.race(ctx, race)
}

// raceOf says who does what how often against whom.
type raceOf struct {
	name   string
	rival  target
	riders []*rider
	laps   int
	kept   bool
	goal   float64
}

func (r raceOf) figure() figure {
	return figure{Name: r.name + "_ratio", Unit: "x", Op: ">=", Goal: r.goal, Samples: turns}
}

// race runs a course at the server and at its rival in turns. Both have the same
// one core, the load the others.
func (s *server) race(ctx context.Context, r raceOf) ([]figure, error) {
	own := target{name: "sealift", address: s.gateway, pid: s.process.Process.Pid}
	var ours, theirs, ratios, cpuRatios []float64
	for turn := range turns + 1 {
		c, err := newCourse(r.riders, r.laps)
		if err != nil {
			return nil, err
		}
		order := []target{own, r.rival}
		samples := map[string]sample{}
		if turn%2 == 1 {
			order = []target{r.rival, own}
		}
		for _, t := range order {
			if samples[t.name], err = t.turn(ctx, c, r.kept); err != nil {
				return nil, err
			}
		}
		if turn == 0 {
			continue // nobody was warm
		}
		a, b := samples[own.name], samples[r.rival.name]
		ours, theirs = append(ours, a.rate), append(theirs, b.rate)
		ratios, cpuRatios = append(ratios, a.rate/b.rate), append(cpuRatios, a.cpu/b.cpu)
	}
	f := r.figure()
	f.Value = median(ratios)
	f.Note = fmt.Sprintf("sealift %.0f, %s %.0f cycles/s; by CPU time of the servers alone %.2fx", median(ours), r.rival.name, median(theirs), median(cpuRatios))
	if !f.judged().Met {
		note, err := s.profileUnder(ctx, f.Name, r)
		if err != nil {
			return nil, err
		}
		f.Note += "; " + note
	}
	return []figure{
		f,
		{Name: r.name + "_cpu_ratio", Value: median(cpuRatios), Unit: "x", Samples: turns, Note: "cycles a second of the servers' CPU time, against " + r.rival.name},
		{Name: r.name + "_rate", Value: median(ours), Unit: "cycles/s", Samples: turns, Note: "on one core"},
	}, nil
}

// profileUnder keeps a profile of the CPU while a race's course is run again.
func (s *server) profileUnder(ctx context.Context, name string, r raceOf) (string, error) {
	var note string
	var failed error
	var profile sync.WaitGroup
	stopped := make(chan struct{})
	profile.Go(func() {
		defer close(stopped)
		note, failed = s.profile(ctx, name, "profile")
	})
	own := target{name: "sealift", address: s.gateway, pid: s.process.Process.Pid}
	for going := true; going; {
		c, err := newCourse(r.riders, r.laps)
		if err == nil {
			_, err = own.turn(ctx, c, r.kept)
		}
		if err != nil {
			profile.Wait()
			return note, errors.Join(err, failed)
		}
		select {
		case <-stopped:
			going = false
		default:
		}
	}
	return note, failed
}
