package treehub_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/treehub"
)

// line is a connection to PostgreSQL that can be cut on our side alone.
type line struct {
	net.Listener
	mu   sync.Mutex
	ours []net.Conn
}

// newLine lays one to the server at url and returns the address of our end.
func newLine(t *testing.T, url string) (*line, string) {
	t.Helper()
	host := regexp.MustCompile(`host=(/\S+)`)
	there := host.FindStringSubmatch(url)
	if there == nil {
		t.Fatalf("%s is not on this machine", dbtest.EnvURL)
	}
	const socket = ".s.PGSQL.5432"
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n := &line{Listener: l}
	go n.serve(filepath.Join(there[1], socket))
	return n, host.ReplaceAllString(url, "host="+dir)
}

func (n *line) serve(address string) {
	for {
		ours, err := n.Accept()
		if err != nil {
			return
		}
		theirs, err := net.Dial("unix", address)
		if err != nil {
			_ = ours.Close()
			continue
		}
		n.mu.Lock()
		n.ours = append(n.ours, ours)
		n.mu.Unlock()
		go func() { _, _ = io.Copy(theirs, ours) }() // theirs stays open: the server does not notice
		go func() { _, _ = io.Copy(ours, theirs) }()
	}
}

func (n *line) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.ours {
		_ = c.Close()
	}
}

// The line to the database breaks while it commits an upload. The upload counts,
// as the database goes on, and its blob must be there: nobody could bring it again.
func TestAccidentWhileCommitting(t *testing.T) {
	url := dbtest.PostgresURL(t)
	n, near := newLine(t, url)
	open := func(url string) *db.DB {
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	f, direct := newFixture(t, open(near)), open(url)
	const held = 7316471
	for _, statement := range []string{
		`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7316471); RETURN NULL; END'`,
		`CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON treehub_object DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()`,
	} {
		if _, err := direct.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	commit, err := direct.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commit.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock($1)`, held); err != nil {
		t.Fatal(err)
	}
	put := make(chan error, 1)
	name := f.closure(f.commit)[0]
	go func() { put <- f.put(name) }()
	waiting := func(least int) bool {
		var n int
		err := direct.GetContext(t.Context(), &n, `SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE NOT l.granted AND a.datname = current_database() AND (l.objid = $1 OR a.query LIKE '%treehub_object%')`, held)
		if err != nil {
			t.Fatal(err)
		}
		return n >= least
	}
	for !waiting(1) {
	}
	n.cut()
	for over := false; !over && !waiting(2); { // somebody looks what became of it
		select {
		case err := <-put:
			put <- err
			over = true
		default:
		}
	}
	if err := commit.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-put; err != nil {
		t.Errorf("the upload counts, but: %v", err)
	}
	for waiting(1) {
	}
	if err, left := f.put(name), f.blobs(); !errors.Is(err, treehub.ErrObjectExists) || len(left) != 1 {
		t.Errorf("sent again: %v; blobs %q", err, left)
	}
}
