package drill_test

import (
	"context"
	"testing"
	"time"
)

// TestWhatServersStandOn runs two servers on a PostgreSQL and a bucket that stop
// and go on, and then kills one server while the other works.
func TestWhatServersStandOn(t *testing.T) {
	database, blobs := newPostgres(t), newBucket(t)
	first := newServer(t, t.TempDir(), append(blobs.env(), "SEALIFT_DATABASE_URL="+database.url())...)
	second := first.replica()
	first.start()
	second.start()
	first.release(releases)
	n := play(t, trouble{name: "database", noWrites: true, noReads: true, begin: database.stop, end: database.start}, first, second)
	t.Logf("drill: database stopped: %d requests refused, all of them done later", n)
	n = play(t, trouble{name: "bucket", noBlobs: true, begin: blobs.stop, end: blobs.start}, first, second)
	t.Logf("drill: bucket stopped: %d requests refused, all of them done later", n)
	replicasKilled(t, first, second)
	first.stop()
	second.stop()
	first.fsck()
}

// replicasKilled kills each of two servers, twice, and demands that the other one
// goes on as if nothing had happened, and has all that was acknowledged.
func replicasKilled(t *testing.T, servers ...*server) {
	t.Helper()
	const kills = 4
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	crews := []*crew{servers[0].hire("left", 1, 3, releases), servers[1].hire("right", 1, 3, releases)}
	for _, c := range crews {
		c.begin(ctx)
	}
	for i := range kills {
		victim, other := servers[i%2], servers[(i+1)%2]
		waitFor(t, victim, object, 5)
		victim.kill()
		waitFor(t, other, object, 5)
		waitFor(t, other, report, 5)
		victim.start()
	}
	var sum figures
	for _, c := range crews {
		c.finish()
	}
	for i, c := range crews {
		c.ask(servers[(i+1)%2])
		f := c.verify(ctx)
		sum.objects += f.objects
		sum.manifests += f.manifests
		if no := c.refused(); len(no) > 0 {
			t.Errorf("%d requests were refused, such as %s: %s", len(no), no[0], no[0].answer.body)
		}
	}
	t.Logf("drill: %d kills of a replica; the other one went on; acknowledged and there: %d objects, %d manifests", kills, sum.objects, sum.manifests)
}

// waitFor returns once a server has acknowledged n more writes of a kind.
func waitFor(t *testing.T, s *server, k kind, n int) {
	t.Helper()
	select {
	case <-s.tally.await(k, n):
	case <-time.After(patience):
		t.Fatalf("the server does not acknowledge %d of %s", n, k)
	}
}
