package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sealift/uptane"
)

// hardwareText writes hardware ids so that a database finds each of them: every
// one stands between line feeds, which none contains.
func hardwareText(ids []uptane.HardwareID) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString("\n" + string(id))
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// hardwareIn reads it.
func hardwareIn(text string) []uptane.HardwareID {
	var ids []uptane.HardwareID
	for id := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		if id != "" {
			ids = append(ids, uptane.HardwareID(id))
		}
	}
	return ids
}

// madeAt is when a target was made, in Unix milliseconds: as its maker says, or
// when it was added here.
func madeAt(c uptane.Custom, addedAt int64) int64 {
	if c.CreatedAt.IsZero() {
		return addedAt
	}
	return c.CreatedAt.UnixMilli()
}

// catalogue fills in what searches look at, of targets that are older than the
// columns for it. Any number of processes may do so at once.
func (r *Repo) catalogue(ctx context.Context) error {
	for {
		rows, err := r.store.uncatalogued(ctx, chunk)
		if err != nil {
			return fmt.Errorf("looking for targets that are not catalogued: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		for i := range rows {
			var entry struct {
				Custom uptane.Custom `json:"custom"`
			}
			// What cannot be read has no hardware ids, here as in the metadata.
			_ = json.Unmarshal([]byte(rows[i].Entry), &entry)
			rows[i].Hardware, rows[i].MadeAt = hardwareText(entry.Custom.HardwareIDs), madeAt(entry.Custom, rows[i].AddedAt)
		}
		if err := r.store.catalogue(ctx, rows); err != nil {
			return fmt.Errorf("cataloguing targets: %w", err)
		}
	}
}
