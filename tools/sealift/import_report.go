package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"sealift/keys"
	"sealift/uptane"
)

// counted shows on a terminal how far long work has come while do does it.
func (k *importing) counted(what string, total int, do func(done *atomic.Int64) error) error {
	var done atomic.Int64
	defer newProgress(k.w).follow(func() string { return fmt.Sprintf("%s: %d of %d", what, done.Load(), total) })()
	return do(&done)
}

func (k *importing) say(format string, values ...any) { fmt.Fprintf(k.w, format+"\n", values...) }

// inventory says what there is to take.
func (k *importing) inventory() {
	private, images := 0, k.old.wanted()
	for _, r := range k.old.repositories {
		private += len(r.keys)
	}
	var size int64
	for _, w := range images {
		size += w.length
	}
	k.say("In %s: root %d and targets %d of the Image repository, %d delegated roles, root %d of the Director, %d private keys, %d devices, %d images of %d bytes.", k.o.dir,
		len(k.old.repositories[uptane.ImageRepository].roots), k.old.targets.Payload.Version, len(k.old.delegations),
		len(k.old.repositories[uptane.DirectorRepository].roots), private, len(k.old.devices), len(images), size)
}

// report is what is left to do once everything is here.
func (k *importing) report(ctx context.Context, missing []string) error {
	k.say("Imported. Devices are served.")
	for _, text := range missing {
		k.say("Not here yet, bring it before it is assigned: %s", text)
	}
	for _, name := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		for _, role := range importRoles() {
			if n := k.old.repositories[name].absent[role]; n > 0 {
				k.say("%d keys of %s of the %s repository are not in the dump: whoever has them goes on signing.", n, role, name)
			}
		}
	}
	k.say("The image targets end %s: sign them anew before, with garage-sign targets sign and push.", k.old.targets.Payload.Expires.Format(time.DateOnly))
	return k.reds(ctx, k.v.Vault)
}

// reds lists what stays red in doctor and expiry, and how that ends.
func (k *importing) reds(ctx context.Context, v *keys.Vault) error {
	held, err := v.Custody(ctx, defaultNamespace)
	if err != nil {
		return err
	}
	n := 0
	for _, h := range held {
		if !h.InRoot || h.Imported.IsZero() {
			continue
		}
		if n++; n == 1 {
			k.say("Red in sealift doctor and sealift expiry until sealift root rotate has replaced them, because copies may be left on the old server:")
		}
		k.say("  %s of the %s repository, key %s", h.Role, h.Repository, h.Key.ID())
		if h.Repository == uptane.ImageRepository && h.Role == uptane.RoleTargets && h.Place != keys.PlaceOffline {
			k.say("  WARNING: with this one whoever takes the server can sign any image")
		}
	}
	return nil
}

// importRoles are the roles of a root.
func importRoles() []uptane.Role {
	return []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp}
}
