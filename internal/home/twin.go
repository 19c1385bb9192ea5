package home

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// SignRootTwins signs TUF's flavour of roots that were published without, from
// version first on. chain are all roots of the server from that before first on,
// or from the first of all, in order; each must follow from the one before, and
// the last must be the local root: nothing else is signed. Every local private
// key signs that a root or the one before lists for root. The documents are not
// kept. Errors wrap ErrNotFound where too few keys are here, or are those of
// package uptane.
func (h *Home) SignRootTwins(ctx context.Context, first int64, chain [][]byte) ([][]byte, error) {
	local, err := h.Root()
	if err != nil {
		return nil, err
	}
	if len(chain) == 0 || !bytes.Equal(chain[len(chain)-1], local.Raw) {
		return nil, fmt.Errorf("comparing the server's newest root with the local one: %w", errOtherRoot)
	}
	names, err := h.keys.Names()
	if err != nil {
		return nil, err
	}
	var twins [][]byte
	var prev *metadata.RootType
	for _, raw := range chain {
		root, err := uptane.OpenRoot(uptane.Uptane, raw, prev, time.Time{})
		if err != nil {
			return nil, err
		}
		if root.Payload.Version >= first {
			twin, err := h.signRootTwin(ctx, names, &root.Payload, prev)
			if err != nil {
				return nil, fmt.Errorf("signing TUF's flavour of root version %d: %w", root.Payload.Version, err)
			}
			twins = append(twins, twin)
		}
		prev = &root.Payload
	}
	return twins, nil
}

func (h *Home) signRootTwin(ctx context.Context, names []string, root, prev *metadata.RootType) ([]byte, error) {
	var trusted []uptane.Keyring
	for _, r := range []*metadata.RootType{root, prev} {
		if r == nil {
			continue
		}
		ring, err := uptane.RingOf(uptane.Uptane, r, uptane.RoleRoot)
		if err != nil {
			return nil, err
		}
		trusted = append(trusted, ring)
	}
	signers := map[uptane.Key]string{}
	for _, name := range names {
		key, err := h.keys.Public(name)
		if err == nil && h.keys.HasPrivate(name) && slices.ContainsFunc(trusted, func(r uptane.Keyring) bool { return r.Has(key) }) {
			signers[key] = name
		}
	}
	for _, ring := range trusted {
		have := 0
		for key := range signers {
			if ring.Has(key) {
				have++
			}
		}
		if have < ring.Threshold {
			return nil, fmt.Errorf("%d of %d keys that must sign are in %s: %w", have, ring.Threshold, h.keys.dir, ErrNotFound)
		}
	}
	job := uptane.Job{Repository: h.config.ServerType.Repository(), Role: uptane.RoleRoot}
	return uptane.Seal(ctx, uptane.TUF, h.keys.Signer(slices.Sorted(maps.Values(signers))...), job, root)
}
