package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// How much is asked in a turn: so many devices poll so many times each. No
// device reports more often than the server lets it.
const (
	leastTurns = 7
	mostTurns  = 25
	raceTime   = 25 * time.Second

	idleRiders = 128
	freshLaps  = 1 // a turn, with new connections
	keptLaps   = 4
)

func idleMeasure() measure {
	m := measure{name: "idle", limit: 3 * time.Minute, run: measureIdle}
	for _, r := range []raceOf{freshRace(), keptRace()} {
		m.figures = append(m.figures,
			figure{Name: r.name + "_ratio", Unit: "x", Op: ">=", Goal: r.goal},
			figure{Name: r.name + "_cpu_ratio", Unit: "x"},
			figure{Name: r.name + "_rate", Unit: "cycles/s"})
	}
	return m
}

// raceOf says who asks what how often.
type raceOf struct {
	name string
	laps int
	kept bool
	goal float64
}

// freshRace is how aktualizr polls: a new connection for each request.
func freshRace() raceOf { return raceOf{name: "idle_new_tls", laps: freshLaps, goal: 1} }
func keptRace() raceOf  { return raceOf{name: "idle_kept_alive", laps: keptLaps, kept: true, goal: 0.5} }

func (r raceOf) names() []string {
	return []string{r.name + "_ratio", r.name + "_cpu_ratio", r.name + "_rate"}
}

// measureIdle races idle polls against nginx, which serves static files and
// verifies nothing but certificates, and against a bare handler, which verifies
// certificates and the signatures of manifests. Servers have the first core one
// at a time, the load has another.
func measureIdle(ctx context.Context, r *results) error {
	s, err := newServer(ctx, "")
	if err != nil {
		return err
	}
	defer s.end()
	s.pinned = true
	if err := s.start(ctx); err != nil {
		return err
	}
	devices, err := s.register(ctx, idleRiders)
	if err != nil {
		return err
	}
	targets, err := s.targetsOf(ctx, devices[0])
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "rival")
	www := filepath.Join(dir, "www", "director")
	if err := errors.Join(os.MkdirAll(www, 0o700), os.WriteFile(filepath.Join(www, "targets.json"), targets, 0o600)); err != nil {
		return err
	}
	id, err := newIdentity(dir, s.fleet.Cert)
	if err != nil {
		return err
	}
	defer pinSelf(ctx)()
	if err := s.raceNginx(ctx, r, dir, id, devices); err != nil {
		return err
	}
	b, err := startBare(ctx, id, devices, targets)
	if err != nil {
		return err
	}
	defer b.stop()
	return s.race(ctx, r, keptRace(), target{name: "bare net/http", address: b.address, pid: b.process.Process.Pid}, devices)
}

// targetsOf is what one device gets.
func (s *server) targetsOf(ctx context.Context, d *rider) ([]byte, error) {
	l, err := dial(ctx, s.gateway, &d.cert)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.ask(idleCycle(nil)[2])
}

func (s *server) raceNginx(ctx context.Context, r *results, dir string, id identity, devices []*rider) error {
	race := freshRace()
	if _, err := findNginx(); err != nil {
		r.miss(err.Error(), race.names()...)
		return nil
	}
	n, err := startNginx(ctx, dir, id, "", true)
	if err != nil {
		return err
	}
	defer n.stop()
	return s.race(ctx, r, race, target{name: "nginx", address: n.address, pid: n.process.Process.Pid}, devices)
}

// pace collects the turns of one server.
type pace struct{ rate, cpu, load []float64 }

func (p *pace) add(s sample) {
	p.rate, p.cpu, p.load = append(p.rate, s.rate), append(p.cpu, s.cpu), append(p.load, s.load)
}

// race runs a course at the server and at its rival in turns.
func (s *server) race(ctx context.Context, r *results, race raceOf, rival target, devices []*rider) error {
	own := target{name: "sealift", address: s.gateway, pid: s.process.Process.Pid}
	both := []target{own, rival}
	same, err := sameHandshake(ctx, both, devices[0])
	if err != nil {
		return err
	}
	kept := make([]lines, len(both))
	for i, t := range both {
		if !race.kept {
			break
		}
		if kept[i], err = t.connect(ctx, devices); err != nil {
			return err
		}
		defer kept[i].close()
	}
	var paces [2]pace
	var ratios, cpuRatios []float64
	err = interleave(ctx, leastTurns, mostTurns, raceTime, func(number int) error {
		c, err := newCourse(devices, race.laps)
		if err != nil {
			return err
		}
		var samples [2]sample
		for i := range both {
			i = (i + number) % len(both) // each is the first every other time
			if samples[i], err = both[i].turn(ctx, c, kept[i]); err != nil {
				return err
			}
		}
		if number == 0 {
			return nil
		}
		for i := range both {
			paces[i].add(samples[i])
		}
		ratios = append(ratios, samples[0].rate/samples[1].rate)
		cpuRatios = append(cpuRatios, samples[0].cpu/samples[1].cpu)
		return nil
	})
	if err != nil {
		return err
	}
	us, them := paces[0], paces[1]
	r.take(race.name+"_ratio", ratios, "sealift %.0f, %s %.0f cycles/s on one core each in turn; %s; the load took %.0f and %.0f %% of another core",
		median(us.rate), rival.name, median(them.rate), same, 100*median(us.load), 100*median(them.load))
	r.take(race.name+"_cpu_ratio", cpuRatios, "by the CPU time of the servers alone: sealift %.2f, %s %.2f ms a cycle", 1e3/median(us.cpu), rival.name, 1e3/median(them.cpu))
	r.take(race.name+"_rate", us.rate, "of sealift")
	if !r.wantsProfile(race.name + "_ratio") {
		return nil
	}
	note, err := s.profileWhile(ctx, race.name, func() error {
		c, err := newCourse(devices, race.laps)
		if err == nil {
			_, err = own.turn(ctx, c, kept[0])
		}
		return err
	})
	r.note(race.name+"_ratio", note)
	return err
}

// sameHandshake refuses to compare servers that do not do the same.
func sameHandshake(ctx context.Context, both []target, d *rider) (string, error) {
	a, err := both[0].handshake(ctx, &d.cert)
	if err != nil {
		return "", err
	}
	b, err := both[1].handshake(ctx, &d.cert)
	if err == nil && a != b {
		err = fmt.Errorf("%s does %s, %s %s", both[0].name, a, both[1].name, b)
	}
	return a, err
}
