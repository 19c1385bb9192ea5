package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sealift/director"
	"sealift/internal/fault"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/uptane"
)

// offlineHomes are the signing homes of an offline folder; nil where none was
// named.
type offlineHomes map[uptane.Repository]*home.Home

// belong makes sure that the homes are of this server: roots that both sides
// have are the same.
func (homes offlineHomes) belong(ctx context.Context, vault *keys.Vault, dir string) error {
	for repository, h := range homes {
		last, err := vault.RootVersion(ctx, defaultNamespace, repository)
		if err != nil {
			return err
		}
		list, err := h.Roots()
		if err != nil {
			return err
		}
		for _, kept := range list {
			if int(kept.Version) > last {
				break
			}
			ours, err := vault.Root(ctx, defaultNamespace, repository, int(kept.Version))
			if err != nil {
				return err
			}
			if !sameRoot(ours, kept.Uptane) {
				return usage(fmt.Errorf("%s belongs to another server: its root %d of the %s repository is another one", dir, kept.Version, repository))
			}
		}
	}
	return nil
}

// sameRoot tells whether two documents say the same, whoever signed them.
func sameRoot(a, b []byte) bool {
	x, err := uptane.ParseEnvelope(uptane.Uptane, a)
	y, other := uptane.ParseEnvelope(uptane.Uptane, b)
	return err == nil && other == nil && bytes.Equal(x.Signed, y.Signed)
}

// fromOffline is who shows what the offline folder has.
const fromOffline = "the offline folder"

func openOffline(dir string) (offlineHomes, error) {
	if dir == "" {
		return nil, nil
	}
	homes := offlineHomes{}
	for repository, folder := range map[uptane.Repository]string{uptane.ImageRepository: "image", uptane.DirectorRepository: "director"} {
		h, err := home.Open(filepath.Join(dir, folder), home.Options{Warn: func(text string) { fmt.Fprintln(os.Stderr, "sealift:", text) }})
		if err != nil {
			return nil, usage(fmt.Errorf("opening the offline folder: %w", err))
		}
		homes[repository] = h
	}
	return homes, nil
}

// recover makes restored data fit for devices that have seen newer ones.
func (s settings) recover(ctx context.Context, o restoration, homes offlineHomes, backup time.Time, w io.Writer) (err error) {
	v, err := openServices(ctx, s, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	list, err := v.Access.Namespaces(ctx)
	if err != nil {
		return err
	}
	if err := homes.belong(ctx, v.Vault, o.offline); err != nil {
		return err
	}
	raise := o.raise * s.countRestore(time.Now(), w)
	for _, ns := range list {
		r := recoverer{services: v, ns: ns, raise: raise, w: w}
		if ns == defaultNamespace {
			r.homes = homes
		}
		if err := r.run(ctx, backup); err != nil {
			return fmt.Errorf("restoring namespace %s: %w", ns, err)
		}
	}
	if homes == nil {
		fmt.Fprintln(w, "No --offline was given. If a root or image targets were signed since the backup, run sealift restore --in-place with it before sealift serve.")
	}
	fmt.Fprintln(w, "Gone with the time since the backup: uploads, pushes and updates, tokens made, devices provisioned or registered.")
	fmt.Fprintln(w, "Do again what was revoked since, tokens and devices: they are let in as before.")
	return nil
}

// recoverer works on one namespace.
type recoverer struct {
	*services
	ns    uptane.Namespace
	homes offlineHomes
	raise int
	w     io.Writer
}

func (r recoverer) say(format string, args ...any) {
	fmt.Fprintf(r.w, "%s: %s\n", r.ns, fmt.Sprintf(format, args...))
}

func (r recoverer) run(ctx context.Context, backup time.Time) error {
	if err := r.Vault.BeginRecovery(ctx, r.ns, backup); err != nil {
		return err
	}
	for _, repository := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		if err := r.roots(ctx, repository); err != nil {
			return err
		}
	}
	floor, err := r.Repo.BeginRecovery(ctx, r.ns, r.raise)
	if err != nil {
		return err
	}
	if floor > 0 {
		r.say("what the server signs goes on at version %d", floor)
	}
	ended, err := r.Director.BeginRecovery(ctx, r.ns, int64(r.raise))
	if err != nil {
		return err
	}
	r.sayEnded(ctx, ended)
	return r.targets(ctx)
}

// roots brings the roots back that were signed since.
func (r recoverer) roots(ctx context.Context, repository uptane.Repository) error {
	h := r.homes[repository]
	if h == nil {
		return nil
	}
	list, err := h.Roots()
	if err != nil || len(list) == 0 {
		return err
	}
	last, err := r.Vault.RootVersion(ctx, r.ns, repository)
	if err != nil {
		return err
	}
	before := last
	for _, s := range list {
		if int(s.Version) != last+1 {
			continue
		}
		err := r.Vault.PutRoots(ctx, r.ns, repository, s.Uptane, s.TUF)
		if fault.Of(err) != nil && s.TUF != nil { // devices come first
			err = r.Vault.PutRoots(ctx, r.ns, repository, s.Uptane, nil)
		}
		if f := fault.Of(err); f != nil {
			if s.Version == list[len(list)-1].Version && !r.follows(ctx, repository, s.Uptane) {
				r.say("root %d of the %s repository lacks signatures, so it was never published; it is left out", s.Version, repository)
				list = list[:len(list)-1]
				break
			}
			r.say("root %d of the %s repository is not acceptable: %s", s.Version, repository, f.Cause())
			break
		}
		if err != nil {
			return err
		}
		last++
	}
	if last > before {
		r.say("root %d of the %s repository is back, the backup had %d", last, repository, before)
	}
	if len(list) == 0 {
		return nil
	}
	newest := int(list[len(list)-1].Version)
	if newest > last {
		r.say("root %d of the %s repository exists and cannot be taken: version %d is missing; it serves nothing until then", newest, repository, last+1)
	}
	return r.Vault.ShowRoot(ctx, r.ns, repository, newest, fromOffline)
}

// follows tells whether a root has the signatures to follow the current one.
func (r recoverer) follows(ctx context.Context, repository uptane.Repository, doc []byte) bool {
	raw, err := r.Vault.Root(ctx, r.ns, repository, 0)
	if err != nil {
		return false
	}
	current, err := uptane.OpenRoot(uptane.Uptane, raw, nil, time.Time{})
	if err != nil {
		return false
	}
	_, err = uptane.OpenRoot(uptane.Uptane, doc, &current.Payload, time.Time{})
	return err == nil
}

// targets brings the image targets back that were published since.
func (r recoverer) targets(ctx context.Context) error {
	h := r.homes[uptane.ImageRepository]
	if h == nil {
		return nil
	}
	s, version, err := h.Published()
	if err != nil || version == 0 {
		return err
	}
	if s.Version > 0 {
		taken, err := r.Repo.TakeTargets(ctx, r.ns, s.Uptane, s.TUF, fromOffline)
		if f := fault.Of(err); f != nil {
			r.say("image targets %d are not acceptable: %v", s.Version, f)
		} else if err != nil {
			return err
		}
		if taken.Newer {
			r.say("image targets %d are back", taken.Version)
		}
		for _, missing := range taken.Missing {
			r.say("bring its bytes again: %s", plain(missing))
		}
	}
	return r.Repo.ShowTargets(ctx, r.ns, int(version), fromOffline)
}

// sayEnded tells which updates lost assignments.
func (r recoverer) sayEnded(ctx context.Context, ended []director.Assignment) {
	devices := map[string]map[uptane.DeviceID]bool{}
	for _, a := range ended {
		if devices[a.Update] == nil {
			devices[a.Update] = map[uptane.DeviceID]bool{}
		}
		devices[a.Update][a.Device] = true
	}
	for _, id := range slices.Sorted(maps.Keys(devices)) {
		name := ""
		if u, err := r.Director.Update(ctx, r.ns, id); err == nil {
			name = u.Name
		}
		r.say("update %s %s was open on %d devices and is cancelled there; assign it again where it is still wanted", id, plain(name), len(devices[id]))
	}
}
