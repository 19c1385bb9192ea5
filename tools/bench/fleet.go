package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// registerSpare is left of a measure's time when registration stops.
	registerSpare = 20 * time.Second
	idleTime      = 5 * time.Second // before memory is read
)

func fleetMeasure() measure {
	return measure{name: "fleet", limit: 4 * time.Minute, run: measureFleet, figures: []figure{
		{Name: "fleet_resident_memory", Unit: "MB"},
		{Name: "fleet_registration_rate", Unit: "devices/s"},
	}}
}

// measureFleet registers a fleet, starts the server anew, lets every device
// report and ask for a root, and reads how much memory that takes.
func measureFleet(ctx context.Context, r *results) error {
	s, err := newServer(ctx, "")
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.start(ctx); err != nil {
		return err
	}
	begin := time.Now()
	within, cancel := context.WithCancel(ctx)
	if end, ok := ctx.Deadline(); ok {
		within, cancel = context.WithDeadline(ctx, begin.Add((time.Until(end)-registerSpare)*2/3))
	}
	defer cancel()
	devices, err := s.register(within, r.devices)
	if err != nil && !errors.Is(within.Err(), context.DeadlineExceeded) {
		return err
	}
	took := time.Since(begin).Seconds()
	if err := errors.Join(s.stop(), s.start(ctx)); err != nil {
		return err
	}
	if err := s.each(ctx, devices, s.sayHello); err != nil {
		return err
	}
	if err := wait(ctx, idleTime); err != nil {
		return err
	}
	memory, err := residentMB(s.process.Process.Pid)
	if err != nil {
		return err
	}
	r.take("fleet_resident_memory", []float64{memory}, "%d of %d devices are registered, and have reported since the start of the server", len(devices), r.devices)
	r.take("fleet_registration_rate", []float64{float64(len(devices)) / took}, "from first contact with a certificate of the fleet's own CA to the first manifest; SQLite, load and server on the same cores")
	if r.options.profile {
		note, err := s.profile(ctx, "fleet_resident_memory", "heap")
		r.note("fleet_resident_memory", note)
		return err
	}
	return nil
}

// sayHello is a poll of a device that is up to date, on one connection.
func (s *server) sayHello(ctx context.Context, d *rider) error {
	manifest, err := d.manifest()
	if err != nil {
		return err
	}
	return s.session(ctx, d, ask(http.MethodPut, "/director/manifest", manifest, http.StatusOK),
		ask(http.MethodGet, "/director/2.root.json", nil, http.StatusNotFound))
}

// register makes n devices known to a server, as devices of a customer's own CA
// become known: at first contact. Those it came to are returned with an error.
func (s *server) register(ctx context.Context, n int) ([]*rider, error) {
	all := make([]*rider, n)
	for i := range all {
		var err error
		if all[i], err = newRider(fmt.Sprintf("bench-%06d", i), s.fleet); err != nil {
			return nil, err
		}
	}
	err := s.each(ctx, all, func(ctx context.Context, r *rider) error {
		manifest, err := r.manifest()
		if err != nil {
			return err
		}
		err = s.session(ctx, r, ask(http.MethodPost, "/director/ecus", r.registration(), http.StatusCreated),
			ask(http.MethodPut, "/director/manifest", manifest, http.StatusOK))
		r.registered = err == nil
		return err
	})
	var done []*rider
	for _, r := range all {
		if r.registered {
			done = append(done, r)
		}
	}
	return done, err
}

// each lets devices do something, workers of them at a time. It ends with the
// first error.
func (s *server) each(ctx context.Context, all []*rider, do func(context.Context, *rider) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, all[i]); err != nil {
					cancel(fmt.Errorf("device %s: %w", all[i].oemid, err))
				}
			}
		})
	}
	done.Wait()
	return context.Cause(ctx)
}

// session asks questions on one connection.
func (s *server) session(ctx context.Context, r *rider, questions ...question) error {
	l, err := dial(ctx, s.gateway, &r.cert)
	if err != nil {
		return err
	}
	defer l.close()
	for _, q := range questions {
		if _, err := l.ask(q); err != nil {
			return err
		}
	}
	return nil
}

// wait is for what needs time and says nothing.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
