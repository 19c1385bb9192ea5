package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/uptane"
)

// Guardian watches over everything that ends. It is a prometheus.Collector. Safe
// for concurrent use.
type Guardian struct {
	s    *server
	left *prometheus.Desc
}

// NewGuardian returns one that looks at the services of a Config.
func NewGuardian(c Config) *Guardian {
	return &Guardian{newServer(c), prometheus.NewDesc("sealift_seconds_to_expiry",
		"How long metadata and certificates are still good, negative since they are not.", []string{"namespace", "thing", "renewed_by"}, nil)}
}

// all calls fn with what ends of the server, namespace "", and of each namespace.
func (g *Guardian) all(ctx context.Context, fn func(uptane.Namespace, []expiring)) error {
	list, err := g.s.access.Namespaces(ctx)
	if err != nil {
		return err
	}
	for _, ns := range append([]uptane.Namespace{""}, list...) {
		things, readErr := g.s.expiringOf(ctx, ns)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("looking for what ends of namespace %q: %w", ns, readErr))
			continue
		}
		slices.SortFunc(things, func(a, b expiring) int { return a.Expires.Compare(b.Expires) })
		fn(ns, things)
	}
	return err
}

// Announce says in the log what has ended or ends in 30, 14, 7 days or one. Each
// step of each end is said once, over all replicas and restarts. What keys cannot be
// used, so that nothing is renewed, is said each time. Call it now and then, at least
// once a day.
func (g *Guardian) Announce(ctx context.Context) error {
	all := g.ask(ctx)
	err := g.all(ctx, func(ns uptane.Namespace, things []expiring) {
		now := g.s.now()
		for _, e := range things {
			days, due := e.step(now)
			if !due {
				continue
			}
			first, err := g.s.access.Notify(ctx, ns, e.Thing, e.Expires, days)
			if err != nil {
				all = errors.Join(all, err)
			}
			if first {
				g.say(ctx, e, days)
			}
		}
	})
	return errors.Join(err, all)
}

// ask looks for keys in tokens and key services that cannot be used.
func (g *Guardian) ask(ctx context.Context) error {
	list, err := g.s.access.Namespaces(ctx)
	for _, ns := range list {
		held, unread := g.s.vault.Custody(ctx, ns)
		err = errors.Join(err, unread)
		for _, f := range ofAway(g.s.vault.Unusable(held, true)) {
			g.s.log.ErrorContext(ctx, "nothing can be renewed", "namespace", ns, "since", f.Since, "text", f.Text, "advice", f.Advice)
		}
	}
	return err
}

func (g *Guardian) say(ctx context.Context, e expiring, days int) {
	message, how := "something ends soon", slog.LevelWarn
	if days <= 1 {
		how = slog.LevelError
	}
	if days == 0 {
		message = "something has ended"
	}
	g.s.log.Log(ctx, how, message, "namespace", e.namespace, "thing", e.Thing, "version", e.Version,
		"expires", e.Expires.Format(time.RFC3339), "days", days, "text", e.Text, "advice", e.Advice)
}

// Describe is that of prometheus.Collector.
func (g *Guardian) Describe(to chan<- *prometheus.Desc) { to <- g.left }

// Collect is that of prometheus.Collector. What cannot be read is left out.
func (g *Guardian) Collect(to chan<- prometheus.Metric) {
	ctx := context.Background()
	err := g.all(ctx, func(ns uptane.Namespace, things []expiring) {
		seen := map[string]bool{}
		for _, e := range things { // the first end of several certificates of one kind counts
			if seen[e.Thing] {
				continue
			}
			seen[e.Thing] = true
			by := "people"
			if e.Online {
				by = "server"
			}
			to <- prometheus.MustNewConstMetric(g.left, prometheus.GaugeValue, e.Expires.Sub(g.s.now()).Seconds(), string(ns), e.Thing, by)
		}
	})
	if err != nil {
		g.s.log.WarnContext(ctx, "looking for what ends failed", "error", err)
	}
}
