package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

const (
	changesAtOnce = 10 // in a turn, one after the other
	changeRiders  = 12
	leastChanges  = 15 // turns
	mostChanges   = 60
	changeTime    = 10 * time.Second
	// changePace is how often so many devices may report in the long run.
	changePace = 50 * time.Millisecond
)

func changeMeasure() measure {
	m := measure{name: "change", limit: 90 * time.Second, run: measureChanges}
	for _, engine := range []string{"sqlite", "postgresql"} {
		m.figures = append(m.figures, figure{Name: changeName(engine), Unit: "x", Op: "<=", Goal: 3}, figure{Name: changeTimeName(engine), Unit: "ms"})
	}
	return m
}

func changeName(engine string) string     { return "durable_change_ratio_" + engine }
func changeTimeName(engine string) string { return "durable_change_" + engine }

// measureChanges measures how long it takes until a manifest that changes what a
// device runs is on disk, against one committed INSERT in the same engine.
func measureChanges(ctx context.Context, r *results) error {
	if err := changeRatio(ctx, r, "sqlite", ""); err != nil {
		return err
	}
	p, err := startPostgres(ctx)
	if errors.Is(err, errNoPostgres) {
		r.miss(err.Error(), changeName("postgresql"), changeTimeName("postgresql"))
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(changeRatio(ctx, r, "postgresql", p.url()), p.stop())
}

// changer reports new images of devices, each over a connection that stays.
type changer struct {
	devices []*rider
	lines   lines
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

func changeRatio(ctx context.Context, r *results, engine, url string) error {
	s, err := newServer(ctx, url)
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.start(ctx); err != nil {
		return err
	}
	c := &changer{}
	if c.devices, err = s.register(ctx, changeRiders); err != nil {
		return err
	}
	here := target{name: "sealift", address: s.gateway}
	if c.lines, err = here.connect(ctx, c.devices); err != nil {
		return err
	}
	defer c.lines.close()
	if url == "" {
		url = "sqlite:" + filepath.Join(s.dir, "entries.db") // on the same disk
	}
	e, err := openEntries(ctx, url)
	if err != nil {
		return err
	}
	defer e.db.Close()
	ours, theirs, ratios, err := changeRace(ctx, c, e)
	if err != nil {
		return err
	}
	r.take(changeName(engine), ratios, "a manifest over TLS %.2f ms, an INSERT of 300 bytes %.2f ms", median(ours), median(theirs))
	r.take(changeTimeName(engine), ours, "")
	if !r.wantsProfile(changeName(engine)) {
		return nil
	}
	pace := time.NewTicker(changePace / changeRiders)
	defer pace.Stop()
	note, err := s.profileWhile(ctx, changeName(engine), func() error {
		<-pace.C
		_, err := c.report()
		return err
	})
	r.note(changeName(engine), note)
	return err
}

// changeRace returns the milliseconds of both, and their ratio, turn by turn.
func changeRace(ctx context.Context, c *changer, e *entries) (ours, theirs, ratios []float64, err error) {
	body := strings.Repeat("x", 300)
	err = interleave(ctx, leastChanges, mostChanges, changeTime, func(number int) error {
		var own, others []float64
		for range changesAtOnce {
			took, err := c.report()
			if err != nil {
				return err
			}
			own = append(own, 1e3*took.Seconds())
			begin := time.Now()
			if err := e.add(ctx, fmt.Sprint(c.made), begin.UnixMilli(), body); err != nil {
				return err
			}
			others = append(others, 1e3*time.Since(begin).Seconds())
		}
		if number > 0 {
			ours, theirs = append(ours, median(own)), append(theirs, median(others))
			ratios = append(ratios, median(own)/median(others))
		}
		return nil
	})
	return ours, theirs, ratios, err
}
