package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	changeTurns   = 15
	changesAtOnce = 20 // in a turn, one after the other
	changeRiders  = 12
)

// changes measures how long it takes until a manifest that changes what a device
// runs is on disk, against one committed INSERT in the same engine.
func changes(ctx context.Context, _ options) ([]figure, error) {
	lite, err := changeRatio(ctx, "sqlite", "")
	if err != nil {
		return nil, err
	}
	p, err := startPostgres(ctx)
	if errors.Is(err, errNoPostgres) {
		f := changeFigure("postgresql")
		f.Missing = err.Error()
		return []figure{lite, f}, nil
	}
	if err != nil {
		return nil, err
	}
	big, err := changeRatio(ctx, "postgresql", p.url())
	return []figure{lite, big}, errors.Join(err, p.stop())
}

func changeFigure(engine string) figure {
	return figure{Name: "durable_change_ratio_" + engine, Unit: "x", Op: "<=", Goal: 3, Samples: changeTurns * changesAtOnce}
}

// changer reports new images of devices, each over a connection that stays.
type changer struct {
	devices []*rider
	lines   []*line
	made    int
}

// next is a manifest with another image, and whose it is.
func (c *changer) next() (question, *line, error) {
	i := c.made % len(c.devices)
	c.made++
	d := c.devices[i]
	d.image = fmt.Sprintf("image-%d", c.made)
	manifest, err := d.manifest()
	return ask(http.MethodPut, "/director/manifest", manifest, http.StatusOK), c.lines[i], err
}

// report sends the next manifest and says how long the answer took.
func (c *changer) report() (time.Duration, error) {
	q, l, err := c.next()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = l.ask(q)
	return time.Since(begin), err
}

func changeRatio(ctx context.Context, engine, url string) (figure, error) {
	f := changeFigure(engine)
	s, err := newServer(ctx, url)
	if err != nil {
		return f, err
	}
	defer s.end()
	if err := s.start(ctx); err != nil {
		return f, err
	}
	c := &changer{}
	if c.devices, err = s.register(ctx, changeRiders); err != nil {
		return f, err
	}
	for _, d := range c.devices {
		l, err := dial(ctx, s.gateway, &d.cert)
		if err != nil {
			return f, err
		}
		defer l.close()
		c.lines = append(c.lines, l)
	}
	if url == "" {
		url = "sqlite:" + filepath.Join(s.dir, "entries.db") // on the same disk
	}
	e, err := openEntries(ctx, url)
	if err != nil {
		return f, err
	}
	defer e.db.Close()
	ours, theirs, ratios, err := changeRace(ctx, c, e)
	if err != nil {
		return f, err
	}
	f.Value = median(ratios)
	f.Note = fmt.Sprintf("a manifest %.2f ms, an INSERT %.2f ms, medians", 1e3*median(ours), 1e3*median(theirs))
	if f.judged().Met {
		return f, nil
	}
	note, err := s.profileChanges(ctx, f.Name, c)
	f.Note += "; " + note
	return f, err
}

func changeRace(ctx context.Context, c *changer, e *entries) (ours, theirs, ratios []float64, err error) {
	body := strings.Repeat("x", 300)
	for turn := range changeTurns + 1 {
		var own, others []float64
		for range changesAtOnce {
			took, err := c.report()
			if err != nil {
				return nil, nil, nil, err
			}
			own = append(own, took.Seconds())
			begin := time.Now()
			if err := e.add(ctx, fmt.Sprint(c.made), begin.UnixMilli(), body); err != nil {
				return nil, nil, nil, err
			}
			others = append(others, time.Since(begin).Seconds())
		}
		if turn == 0 {
			continue // nobody was warm
		}
		ours, theirs = append(ours, median(own)), append(theirs, median(others))
		ratios = append(ratios, median(own)/median(others))
	}
	return ours, theirs, ratios, nil
}

// profileChanges keeps a profile of the CPU while changes go on.
func (s *server) profileChanges(ctx context.Context, name string, c *changer) (string, error) {
	var note string
	var failed error
	var profile sync.WaitGroup
	stopped := make(chan struct{})
	profile.Go(func() {
		defer close(stopped)
		note, failed = s.profile(ctx, name, "profile")
	})
	pace := time.NewTicker(5 * time.Millisecond) // what so many devices may report
	defer pace.Stop()
	for {
		select {
		case <-stopped:
			return note, failed
		case <-pace.C:
		}
		if _, err := c.report(); err != nil {
			profile.Wait()
			return note, errors.Join(err, failed)
		}
	}
}
