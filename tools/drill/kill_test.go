package drill_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealift/internal/db/dbtest"
)

// What happens during a drill.
const (
	kills    = 20
	pushers  = 4
	cars     = 20
	releases = 5
)

// TestKilled kills the server twenty times while four builds push, twenty devices
// poll and install, and an operator assigns. What was acknowledged is there in the
// end, and all that is stored verifies. SEALIFT_TEST_SEED repeats the moments of
// an earlier run.
func TestKilled(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { killed(t) })
	t.Run("postgres", func(t *testing.T) { killed(t, "SEALIFT_DATABASE_URL="+dbtest.PostgresURL(t)) })
}

func killed(t *testing.T, env ...string) {
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
	defer stop()
	moments := newMoments(t)
	s := newServer(t, t.TempDir(), env...)
	s.start()
	s.release(releases)
	c := s.hire("car", pushers, cars, releases)
	c.begin(ctx)
	for range kills {
		moments.await(ctx, s.tally)
		s.kill()
		s.start()
	}
	c.finish()
	f := c.verify(ctx)
	s.stop()
	t.Logf("drill: %d kills; acknowledged and there: %d objects in %d commits, %d manifests, %d events, %d assignments; %s",
		kills, f.objects, f.commits, f.manifests, f.events, f.assignments, leftOver(s.fsck()))
	if f.objects < 40 || f.manifests < 2*cars || f.events < cars || f.assignments < cars {
		t.Error("too little was under way for the kills to mean anything")
	}
	if no := c.refused(); len(no) > 0 {
		t.Errorf("%d requests were refused, such as %s: %s", len(no), no[0], no[0].answer.body)
	}
	temporary, err := filepath.Glob(filepath.Join(s.dir, "sealift-data", "blobs", "*", ".tmp", "*"))
	if err != nil || len(temporary) > kills*pushers*4 {
		t.Errorf("%d temporary files are left, %v", len(temporary), err)
	}
}

// moments are those at which a server is killed. Each lies shortly behind a write
// that was acknowledged, of builds, devices and the operator in turn, because how
// long anything takes depends on the machine.
type moments struct {
	*rand.Rand
	turn int
}

func newMoments(t *testing.T) *moments {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEALIFT_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("SEALIFT_TEST_SEED=%d", seed)
	return &moments{Rand: rand.New(rand.NewPCG(seed, 0))}
}

// await returns at the next moment.
func (m *moments) await(ctx context.Context, t *tally) {
	k := []kind{object, report, assignment}[m.turn%3]
	n := 1 + m.IntN(map[kind]int{object: 25, report: 40, assignment: 5}[k])
	m.turn++
	longest := patience
	if k == assignment { // there may be nothing left to assign
		longest = 2 * time.Second
	}
	enough, stop := context.WithTimeout(ctx, longest)
	defer stop()
	select {
	case <-t.await(k, n):
		rest(ctx, time.Duration(m.Int64N(int64(20*time.Millisecond))))
	case <-enough.Done():
	}
}

// leftOver is what fsck says of blobs that nothing refers to.
func leftOver(said string) string {
	for line := range strings.Lines(said) {
		if strings.Contains(line, "left over") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "no blobs are left over"
}
