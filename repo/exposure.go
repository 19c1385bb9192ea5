package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"sealift/uptane"
)

// exposurePage is how many targets are read at once.
const exposurePage = 1000

// Exposed is what a thief of all online keys could make devices of a hardware id
// install: everything that is signed for it.
type Exposed struct {
	HardwareID uptane.HardwareID
	Newest     []string // those of the highest release counter
	Older      []string // still signed, though newer ones replace them
}

// release is a signed target as it concerns exposure.
type release struct {
	filename string
	counter  int64
}

// Exposure lists, by hardware id, what is signed: the newest and what could be
// retired. Targets of delegated roles count, too.
func (r *Repo) Exposure(ctx context.Context, ns uptane.Namespace) ([]Exposed, error) {
	found := map[uptane.HardwareID][]release{}
	for _, read := range []func(context.Context, uptane.Namespace, string, int, int) ([]Item, int, error){r.Targets, r.DelegatedItems} {
		for offset := 0; ; offset += exposurePage {
			items, _, err := read(ctx, ns, "", exposurePage, offset)
			if err != nil {
				return nil, err
			}
			for _, item := range items {
				var entry struct {
					Custom uptane.Custom `json:"custom"`
				}
				if err := json.Unmarshal(item.Entry, &entry); err != nil {
					return nil, fmt.Errorf("reading target %q of %s: %w", item.Filename, ns, err)
				}
				for _, id := range entry.Custom.HardwareIDs {
					found[id] = append(found[id], release{item.Filename, entry.Custom.ReleaseCounter})
				}
			}
			if len(items) < exposurePage {
				break
			}
		}
	}
	var list []Exposed
	for _, id := range slices.Sorted(maps.Keys(found)) {
		list = append(list, exposed(id, found[id]))
	}
	return list, nil
}

func exposed(id uptane.HardwareID, all []release) Exposed {
	e := Exposed{HardwareID: id, Newest: []string{}, Older: []string{}}
	highest := all[0].counter
	for _, a := range all {
		highest = max(highest, a.counter)
	}
	for _, a := range all {
		if a.counter == highest {
			e.Newest = append(e.Newest, a.filename)
		} else {
			e.Older = append(e.Older, a.filename)
		}
	}
	slices.Sort(e.Newest)
	slices.Sort(e.Older)
	return e
}
