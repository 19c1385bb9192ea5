package drill_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sealift/internal/credentials"
)

// release publishes images app-1, app-2 ... one after the other.
func (s *server) release(n int) {
	s.t.Helper()
	for i := 1; i <= n; i++ {
		path := filepath.Join(s.t.TempDir(), "app")
		must(s.t, os.WriteFile(path, []byte(fmt.Sprintf("release %d", i)), 0o600))
		s.run("target", "add", "--credentials", "sealift-out/build.zip", "--name", "app", "--version", fmt.Sprint(i), "--hardware-id", board, path)
	}
}

func (s *server) archive() *credentials.Archive {
	s.t.Helper()
	a, err := credentials.Open(filepath.Join(s.dir, "sealift-out", "device.zip"))
	must(s.t, err)
	return a
}

// crew is everybody who works during a drill.
type crew struct {
	pushers []*pusher
	cars    []*car
	*operator
	done chan struct{}
	wait sync.WaitGroup
	t    *testing.T
}

// hire engages a crew for a server; name tells it from other crews.
func (s *server) hire(name string, pushers, cars, releases int) *crew {
	s.t.Helper()
	c := &crew{t: s.t, done: make(chan struct{}), operator: newOperator(s, releases)}
	for i := range pushers {
		c.pushers = append(c.pushers, newPusher(s, fmt.Sprintf("%s-line-%d", name, i)))
	}
	archive := s.archive()
	for i := range cars {
		c.cars = append(c.cars, newCar(s, archive, fmt.Sprintf("%s-%d", name, i)))
	}
	c.operator.cars = c.cars
	return c
}

// begin lets everybody work until finish.
func (c *crew) begin(ctx context.Context) {
	launch := func(work func(context.Context, <-chan struct{}) error) {
		c.wait.Go(func() {
			if err := work(ctx, c.done); err != nil {
				c.t.Error(err)
			}
		})
	}
	for _, p := range c.pushers {
		launch(p.work)
	}
	for _, v := range c.cars {
		launch(v.work)
	}
	launch(c.operator.work)
}

// finish lets everybody bring to its end what he has begun.
func (c *crew) finish() {
	close(c.done)
	c.wait.Wait()
}

// ask makes another server of the same data the one to verify.
func (c *crew) ask(s *server) {
	c.operator.s = s
	for _, p := range c.pushers {
		p.s = s
	}
	for _, v := range c.cars {
		v.s = s
	}
}

// figures is what was acknowledged.
type figures struct{ objects, commits, manifests, events, assignments int }

// verify demands that nothing of it is lost.
func (c *crew) verify(ctx context.Context) figures {
	c.t.Helper()
	var f figures
	for _, p := range c.pushers {
		f.objects += p.verify(ctx)
		f.commits += p.sent
	}
	for _, v := range c.cars {
		m, e := v.verify(ctx, c.client)
		f.manifests += m
		f.events += e
	}
	f.assignments = c.operator.verify(ctx)
	return f
}

// refused are the writes that the server could not do.
func (c *crew) refused() []refused {
	all := c.operator.w.refused()
	for _, p := range c.pushers {
		all = append(all, p.w.refused()...)
	}
	for _, v := range c.cars {
		all = append(all, v.w.refused()...)
	}
	return all
}
