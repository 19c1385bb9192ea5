package director_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// TestEverythingAtOnce: manifests with other images and such that change nothing,
// at two replicas, while people approve, assign and cancel and others ask for
// metadata. Whatever the order, what the newest accepted manifest says is known,
// and nothing that people did is lost.
func TestEverythingAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		v := f.device("truck", "board")
		v.report(nil)
		for round := range 8 {
			one := []*director.Director{f.Director, f.replica()}
			const many = 8
			var manifests [][]byte
			var images []string
			for i := range many {
				image := fmt.Sprintf("image-%d-%d", round, i/2) // every second one changes nothing
				v.ecus[0].runs.Filename = image
				manifests, images = append(manifests, v.manifest(nil)), append(images, image)
			}
			wanted := fmt.Sprint("os-", round)
			f.images.add(wanted, 0, "board")
			approved := publicKey(t, newKey(t)).ID()
			results := make([]error, many)
			var all sync.WaitGroup
			for i, m := range manifests {
				all.Go(func() { results[i] = one[i%2].ReceiveManifest(t.Context(), ns, v.id, m) })
			}
			all.Go(func() {
				if err := f.ApproveKey(t.Context(), ns, v.id, v.ecus[0].serial, approved); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() { f.assign(map[uptane.HardwareID]string{"board": wanted}, v) })
			all.Go(func() {
				if _, err := one[1].Metadata(t.Context(), ns, v.id, "targets.json"); err != nil {
					t.Error(err)
				}
			})
			all.Wait()
			newest := -1
			for i, err := range results {
				if err == nil {
					newest = max(newest, i)
				} else if !errors.Is(err, director.ErrReplay) {
					t.Errorf("manifest %d: %v", i, err)
				}
			}
			_, ecus, err := f.Device(t.Context(), ns, v.id)
			if err != nil || newest < 0 || ecus[0].Installed.Filename != images[newest] {
				t.Errorf("round %d: it runs %+v, the newest manifest that was accepted says %q; %v", round, ecus[0].Installed, images[max(newest, 0)], err)
			}
			queue, err := f.Queue(t.Context(), ns, v.id)
			if err != nil || !slices.ContainsFunc(queue, func(a director.Assignment) bool { return a.Image.Filename == wanted }) {
				t.Errorf("round %d: the assignment is gone: %+v, %v", round, queue, err)
			}
			if n := f.count(fmt.Sprintf(`SELECT COUNT(*) FROM director_ecu WHERE approved_key = '%s'`, approved)); n != 1 {
				t.Errorf("round %d: the approval is gone", round)
			}
			if _, err := f.Cancel(t.Context(), ns, v.id, true); err != nil {
				t.Fatal(err)
			}
		}
	})
}
