package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sealift/internal/fault"
	"sealift/internal/fsck"
	"sealift/uptane"
)

// progressEvery is how often a terminal is told how far a check has come.
const progressEvery = 200 * time.Millisecond

// newFsck is `sealift fsck`.
func newFsck() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "fsck", Short: "Verify everything that is stored, without changing anything", Args: args(cobra.NoArgs),
		Long: `Reads every OSTree object and image and holds it against its name, opens every signed document
under its root again, opens every sealed key, works out anew which commits are complete, and
compares the tables with one another. Damage is named, one line each, and makes the exit code 1.
Bytes that no row names are left-overs of a crash: they are counted and are no damage.

The server must be stopped, unless its data are in PostgreSQL and a bucket.`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if _, err := s.load(c); err != nil {
				return err
			}
			v, err := openServices(c.Context(), s, slog.New(slog.DiscardHandler), false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, v.close()) }()
			return v.fsck(c.Context(), c.OutOrStdout())
		},
	}
	s.bindData(c)
	return c
}

// fsck verifies everything, tells w each damage and the sum, and fails if there
// is damage.
func (v *services) fsck(ctx context.Context, w io.Writer) error {
	line := newProgress(w)
	account := fsck.New(func(d fsck.Damage) { line.println("DAMAGED  " + plain(d.String())) })
	stop := line.follow(func() string { return looked(account.Result()) })
	err := v.verify(ctx, account)
	stop()
	if err != nil {
		return err
	}
	r := account.Result()
	for _, c := range r.Looked {
		fmt.Fprintf(w, "%10d  %s\n", c.N, c.Kind)
	}
	fmt.Fprintf(w, "%10s  read\n", bytesOf(r.Bytes))
	if r.LeftOver > 0 {
		fmt.Fprintf(w, "%10d  blobs are left over, %s; no damage\n", r.LeftOver, bytesOf(r.LeftOverLength))
	}
	if r.Damaged > 0 {
		return fmt.Errorf("%d damages; docs/operating.md says what to do", r.Damaged)
	}
	fmt.Fprintln(w, "clean")
	return nil
}

// verify asks each service about what is its own.
func (v *services) verify(ctx context.Context, a *fsck.Account) error {
	problems, err := v.db.Check(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		a.Damaged("", "database", "%s", p)
	}
	return errors.Join(
		v.Vault.Verify(ctx, a, v.known),
		v.Director.Verify(ctx, a, v.known),
		v.Repo.Verify(ctx, a),
		v.TreeHub.Verify(ctx, a))
}

// known tells whether the registry has a device.
func (v *services) known(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (bool, error) {
	d, err := v.Registry.Device(ctx, ns, string(device))
	if fault.Of(err) != nil {
		return false, nil
	}
	return d.ID == device, err
}

// progress writes one line that changes, where w is a terminal, and lines that
// stay.
type progress struct {
	w     io.Writer
	width int // 0: no terminal
	lines chan string
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, lines: make(chan string)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return p
}

// println writes a line that stays. It may be called while follow runs.
func (p *progress) println(text string) { p.lines <- text }

// follow shows how far something has come until the function it returns is
// called. Between the two it alone writes.
func (p *progress) follow(how func() string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	tick := time.NewTicker(progressEvery)
	go func() {
		defer close(ended)
		defer tick.Stop()
		for {
			select {
			case text := <-p.lines:
				p.erase()
				fmt.Fprintln(p.w, text)
			case <-tick.C:
				p.show(how())
			case <-done:
				p.erase()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (p *progress) erase() {
	if p.width > 0 {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) show(text string) {
	if p.width > 0 {
		fmt.Fprint(p.w, "\r\x1b[K"+text[:min(len(text), max(p.width-1, 0))])
	}
}

// looked is how far a check has come.
func looked(r fsck.Result) string {
	var parts []string
	for _, c := range r.Looked {
		parts = append(parts, fmt.Sprintf("%d %s", c.N, c.Kind))
	}
	return bytesOf(r.Bytes) + " read: " + strings.Join(parts, ", ")
}
