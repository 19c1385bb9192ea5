package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sealift/fixtures/device"
	"sealift/internal/credentials"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

// idleMost is how many statements an idle cycle of a real client may cost.
const idleMost = 2

// TestPollPathLooksUp records every statement that a device causes from its first
// contact on, and what is written behind its back: none may read a table from end
// to end, or all of a namespace.
func TestPollPathLooksUp(t *testing.T) {
	engines := map[string]func(testing.TB) string{"sqlite": dbtest.SQLiteURL}
	if os.Getenv(dbtest.EnvURL) != "" {
		engines["postgres"] = dbtest.PostgresURL
	}
	for name, address := range engines {
		t.Run(name, func(t *testing.T) {
			w := newWhole(t, address(t))
			d := w.device("truck-1")
			w.said.Take()
			w.poll(d, device.NothingNew)
			asked := of("device", w.said.Take())
			if !slices.ContainsFunc(asked, writes) {
				t.Error("the first poll writes nothing: the recorder does not work")
			}
			w.assign(d)
			w.said.Take()
			w.poll(d, device.Installed)
			asked = append(asked, of("device", w.said.Take())...)
			asked = append(asked, w.idle(d)...)
			w.close()
			asked = append(asked, w.said.Take()...)
			if !slices.ContainsFunc(asked, func(s dbtest.Statement) bool { return strings.Contains(s.Text, "last_seen = seen.at") }) {
				t.Error("what is gathered in memory was not written in the end")
			}
			if w.db.Dialect() == db.Postgres {
				w.fill() // SQLite plans without looking at how many rows there are
			}
			plans := map[string][]string{}
			for _, s := range asked {
				if _, known := plans[s.Text]; !known && s.Text != dbtest.Begin {
					plans[s.Text] = explain(t, w.db, s)
				}
			}
			if len(plans) < 40 {
				t.Errorf("only %d different statements were recorded", len(plans))
			}
			for _, slow := range []string{`SELECT device FROM director_device WHERE oemid = $1`, `SELECT device FROM director_device WHERE namespace = $1 AND oemid <> ''`} {
				plan := explain(t, w.db, dbtest.Statement{Text: slow, Args: []any{"default"}})
				if len(slowSteps(w.db.Dialect(), plan)) == 0 {
					t.Errorf("this is taken for a look-up: %q of %s", plan, slow)
				}
			}
			for _, text := range slices.Sorted(maps.Keys(plans)) {
				if bad := slowSteps(w.db.Dialect(), plans[text]); len(bad) > 0 {
					t.Errorf("no index look-up: %q in\n%s\nof\n%s", bad, strings.Join(plans[text], "\n"), text)
				}
			}
		})
	}
}

// idle lets the device poll with nothing to do, as the simulated and as a real
// client do it, and holds that to a small and constant number of reads.
func (w *whole) idle(d *device.Device) (all []dbtest.Statement) {
	w.t.Helper()
	client := w.client(d)
	w.poll(d, device.NothingNew)
	for _, path := range []string{"/director/targets.json", "/director/snapshot.json", "/repo/timestamp.json"} {
		get(w.t, client, w.url+path, http.StatusOK) // signed, and remembered
	}
	w.said.Take()
	counts := map[string][]int{}
	cycle := func(when string) {
		w.t.Helper()
		w.poll(d, device.NothingNew)
		get(w.t, client, w.url+"/director/targets.json", http.StatusOK)
		said := of("device", w.said.Take())
		if i := slices.IndexFunc(said, writes); i >= 0 {
			w.t.Errorf("%s an idle poll writes: %s", when, said[i].Text)
		}
		timestamps := 1 // the simulated device looks there, the real one at targets alone
		counts[when] = append(counts[when], len(said)-timestamps)
		all = append(all, said...)
	}
	for range 3 {
		cycle("at once")
	}
	for range 3 {
		w.move(w.now().Add(2 * time.Second)) // what is remembered is too old
		cycle("after a while")
	}
	get(w.t, client, w.url+"/director/2.root.json", http.StatusNotFound)
	get(w.t, client, w.url+"/repo/2.root.json", http.StatusNotFound)
	get(w.t, client, w.url+"/repo/timestamp.json", http.StatusOK)
	if said := of("device", w.said.Take()); slices.ContainsFunc(said, func(s dbtest.Statement) bool { return strings.Contains(s.Text, "FROM root ") }) {
		w.t.Errorf("asking for a root that is not there reads roots: %v", said)
	}
	for when, list := range counts {
		w.t.Logf("%s an idle cycle costs %d statements", when, list[0])
		most := idleMost
		if when != "at once" {
			most += 2 // whether certificates, roots and what is offered still are what they were
		}
		if slices.Max(list) > most || slices.Max(list) != slices.Min(list) {
			w.t.Errorf("%s idle cycles cost %d statements, want the same each time and at most %d", when, list, most)
		}
	}
	return all
}

func (w *whole) client(d *device.Device) *http.Client {
	w.t.Helper()
	cert, cas, err := credentials.ReadP12(d.Certificate(), "")
	must(w.t, err)
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, Time: w.now}}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, c *http.Client, url string, want int) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	resp, err := c.Do(q)
	must(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, err)
	if resp.StatusCode != want {
		t.Fatalf("%s: %s, want %d", url, resp.Status, want)
	}
}

func of(whose string, list []dbtest.Statement) []dbtest.Statement {
	return slices.DeleteFunc(list, func(s dbtest.Statement) bool { return s.Whose != whose })
}

func writes(s dbtest.Statement) bool { return !strings.HasPrefix(strings.TrimSpace(s.Text), "SELECT") }

// copies is what makes each table so large that reading it whole does not pay:
// each of its rows again with another word, or version, in these columns.
var copies = [][]string{
	{"director_device", "device"}, {"director_ecu", "device"}, {"director_ecu_key", "key_id", "device"}, {"director_assignment", "device"},
	{"director_document", "device"}, {"director_report", "device"}, {"director_history", "device"},
	{"director_update", "id"}, {"director_update_target", "update_id"},
	{"registry_device", "id", "oemid"}, {"registry_document", "device"}, {"registry_hardware", "device"}, {"registry_package", "device"},
	{"registry_event", "device"}, {"registry_history", "device"},
	{"keys_stamp", "namespace"}, {"public_key_use", "key_id", "namespace"}, {"online_key", "key_id", "namespace"}, {"root", "namespace"},
	{"signature_record", "id"}, {"authority", "fingerprint", "namespace", "public_key_sha256", "subject_sha256"},
	{"certificate", "fingerprint", "device", "oemid"}, {"bootstrap", "fingerprint"}, {"enrolment", "oemid", "device"}, {"audit", "id"},
	{"repo_repository", "namespace", "id"}, {"repo_push", "id", "checksum", "version"}, {"repo_document", "version", "push"},
	{"repo_target", "filename"}, {"repo_content", "filename"}, {"repo_image", "id", "filename"},
	{"recovery", "namespace"}, {"root_floor", "namespace"}, {"director_recovery", "namespace"}, {"takeover", "namespace"},
}

// fill makes the fleet large and tells the planner.
func (w *whole) fill() {
	w.t.Helper()
	for _, seed := range []string{ // of what is empty until a backup is restored
		`INSERT INTO recovery (namespace, backup_at, restored_at) VALUES ('x', 1, 1)`,
		`INSERT INTO root_floor (namespace, repository, version, shown_by, shown_at) VALUES ('x', 'image', 1, 'x', 1)`,
		`INSERT INTO director_recovery (namespace, version_floor) VALUES ('x', 1)`,
		`INSERT INTO takeover (namespace, begun) VALUES ('x', 1)`,
	} {
		_, err := w.db.ExecContext(w.t.Context(), seed)
		must(w.t, err)
	}
	for _, c := range copies {
		table, varied := c[0], c[1:]
		rows, err := w.db.QueryxContext(w.t.Context(), `SELECT * FROM `+table+` LIMIT 0`)
		must(w.t, err)
		columns, err := rows.Columns()
		must(w.t, err)
		_ = rows.Close()
		values := make([]string, len(columns))
		for i, name := range columns {
			values[i] = "x." + name
			switch {
			case !slices.Contains(varied, name):
			case name == "version":
				values[i] += " + n.i"
			default:
				values[i] += " || '-' || n.i"
			}
		}
		times := 1000
		if table == "director_device" || table == "registry_device" {
			times = 20_000 // one statement asks for some dozens of their rows
		}
		_, err = w.db.ExecContext(w.t.Context(), fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO %s (%s) SELECT %s FROM %s x CROSS JOIN n`, times, table, strings.Join(columns, ", "), strings.Join(values, ", "), table))
		if err != nil {
			w.t.Fatalf("filling %s: %v", table, err)
		}
	}
	_, err := w.db.ExecContext(w.t.Context(), `ANALYZE`)
	must(w.t, err)
}

// explain returns the steps of a statement's plan.
func explain(t *testing.T, d *db.DB, s dbtest.Statement) (steps []string) {
	t.Helper()
	if d.Dialect() == db.Postgres {
		var raw []byte
		if err := d.GetContext(t.Context(), &raw, `EXPLAIN (FORMAT JSON) `+s.Text, s.Args...); err != nil {
			t.Fatalf("explaining %s: %v", s.Text, err)
		}
		var plans []struct{ Plan pgPlan }
		must(t, json.Unmarshal(raw, &plans))
		return plans[0].Plan.steps(nil)
	}
	rows, err := d.QueryxContext(t.Context(), `EXPLAIN QUERY PLAN `+s.Text, s.Args...)
	if err != nil {
		t.Fatalf("explaining %s: %v", s.Text, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		steps = append(steps, detail)
	}
	must(t, rows.Err())
	return steps
}

// pgPlan is a node of a plan of PostgreSQL.
type pgPlan struct {
	Node   string   `json:"Node Type"`
	Table  string   `json:"Relation Name"`
	Index  string   `json:"Index Name"`
	Cond   string   `json:"Index Cond"`
	Filter string   `json:"Filter"`
	Plans  []pgPlan `json:"Plans"`
}

func (p pgPlan) steps(list []string) []string {
	list = append(list, fmt.Sprintf("%s %s %s %s", p.Node, p.Table, p.Index, p.Cond))
	for _, child := range p.Plans {
		list = child.steps(list)
	}
	return list
}

// perNamespace are tables that have a few rows a namespace: there it is enough.
var perNamespace = []string{"keys_stamp", "repo_repository", "online_key", "recovery", "director_recovery", "takeover"}

var (
	liteScan = regexp.MustCompile(`^SCAN (?:\d+ )?(\w+)`)
	liteWide = regexp.MustCompile(`^SEARCH (\w+) .*\(namespace=\?\)$`)
	pgWide   = regexp.MustCompile(`^(?:Index|Bitmap Index).* (\w+) \(+namespace = '[^']*'::text\)+$`)
)

// slowSteps picks the steps that read a table, or the rows of a namespace, from
// end to end. What a statement itself brings, as rows named "seen", may be.
func slowSteps(engine db.Dialect, plan []string) (bad []string) {
	for _, step := range plan {
		slow := false
		if engine == db.Postgres {
			m := pgWide.FindStringSubmatch(step)
			slow = strings.HasPrefix(step, "Seq Scan") ||
				m != nil && !slices.ContainsFunc(perNamespace, func(table string) bool { return strings.HasPrefix(m[1], table) }) ||
				strings.HasPrefix(step, "Index") && !strings.Contains(step, "(")
		} else {
			scan, wide := liteScan.FindStringSubmatch(step), liteWide.FindStringSubmatch(step)
			slow = scan != nil && scan[1] != "seen" && scan[1] != "CONSTANT" ||
				wide != nil && !slices.Contains(perNamespace, wide[1]) || strings.Contains(step, "AUTOMATIC")
		}
		if slow {
			bad = append(bad, step)
		}
	}
	return bad
}
