package repo

import (
	"context"
	"strings"

	"github.com/jmoiron/sqlx"

	"sealift/uptane"
)

// allPackages are the targets of the top level and of the delegated roles in force,
// with the role that names each; it takes the namespace twice.
const allPackages = ` FROM (SELECT 'targets' AS role, ` + targetColumns + ` FROM repo_target WHERE namespace = ?
	UNION ALL SELECT role, ` + targetColumns + ` FROM repo_delegated_target WHERE namespace = ? AND ` + inForce + `) p WHERE 1 = 1`

// conditions of a query, and what their placeholders stand for; sqlx.In spreads
// lists.
func (q PackageQuery) conditions(ns uptane.Namespace) (string, []any) {
	var b strings.Builder
	args := []any{ns, ns}
	add := func(restricts bool, text string, arg ...any) {
		if restricts {
			b.WriteString(" AND " + text)
			args = append(args, arg...)
		}
	}
	add(q.Name != "", `lower(p.name) = lower(?)`, q.Name)
	add(q.Version != "", `lower(p.version) = lower(?)`, q.Version)
	add(q.NameContains != "", `lower(p.name) LIKE ? ESCAPE '!'`, pattern(q.NameContains))
	add(len(q.Origins) > 0, `p.role IN (?)`, rolesOf(q.Origins))
	add(q.OriginNot != "", `p.role <> ?`, rolesOf([]string{q.OriginNot})[0])
	add(len(q.Hashes) > 0, `p.sha256 IN (?)`, q.Hashes)
	add(len(q.Filenames) > 0, `p.filename IN (?)`, q.Filenames)
	if q.HasSBOM != nil {
		not := map[bool]string{true: "", false: "NOT "}[*q.HasSBOM]
		add(true, not+`EXISTS (SELECT 1 FROM repo_sbom s WHERE s.namespace = ? AND s.filename = p.filename)`, ns)
	}
	if n := len(q.HardwareIDs); n > 0 {
		b.WriteString(" AND (" + strings.Repeat(`lower(p.hardware) LIKE ? ESCAPE '!' OR `, n-1) + `lower(p.hardware) LIKE ? ESCAPE '!')`)
		for _, id := range q.HardwareIDs {
			args = append(args, pattern("\n"+string(id)+"\n"))
		}
	}
	return b.String(), args
}

// rolesOf are the roles of origins; one that no role has stands for none.
func rolesOf(origins []string) []string {
	roles := make([]string, len(origins))
	for i, o := range origins {
		switch o {
		case originOf(uptane.RoleTargets):
			roles[i] = string(uptane.RoleTargets)
		case string(uptane.RoleTargets):
			roles[i] = ""
		default:
			roles[i] = o
		}
	}
	return roles
}

// ask puts a question about packages: what is to be read of those that a query
// finds, and what comes behind the conditions.
func (s store) ask(ctx context.Context, to any, what string, ns uptane.Namespace, q PackageQuery, behind string, more ...any) error {
	where, args := q.conditions(ns)
	query, args, err := sqlx.In(`SELECT `+what+allPackages+where+behind, append(args, more...)...)
	if err != nil {
		return err
	}
	return s.db.SelectContext(ctx, to, s.db.Rebind(query), args...)
}

func (s store) countPackages(ctx context.Context, ns uptane.Namespace, q PackageQuery) (int, error) {
	var n []int
	if err := s.ask(ctx, &n, `count(*)`, ns, q, ""); err != nil {
		return 0, err
	}
	return n[0], nil
}

func (s store) packages(ctx context.Context, ns uptane.Namespace, q PackageQuery, o PackageOrder, limit, offset int) ([]delegatedTarget, error) {
	var rows []delegatedTarget
	err := s.ask(ctx, &rows, `role, `+targetColumns, ns, q, o.by("made_at", "filename", "role")+` LIMIT ? OFFSET ?`, limit, offset)
	return rows, err
}

// by sorts by a time, or at once by the names behind it.
func (o PackageOrder) by(at string, names ...string) string {
	if !o.ByName {
		names = append([]string{at}, names...)
	}
	way := " ASC"
	if o.Down {
		way = " DESC"
	}
	return ` ORDER BY ` + strings.Join(names, way+", ") + way
}

// packageName is a name of packages, and when the last of them was made.
type packageName struct {
	Name string `db:"name"`
	Last int64  `db:"latest"`
}

func (s store) countPackageNames(ctx context.Context, ns uptane.Namespace, q PackageQuery) (int, error) {
	var n []int
	if err := s.ask(ctx, &n, `count(DISTINCT name)`, ns, q, ""); err != nil {
		return 0, err
	}
	return n[0], nil
}

func (s store) packageNames(ctx context.Context, ns uptane.Namespace, q PackageQuery, o PackageOrder, limit, offset int) ([]packageName, error) {
	var rows []packageName
	err := s.ask(ctx, &rows, `name, max(made_at) AS latest`, ns, q, ` GROUP BY name`+o.by("latest", "name")+` LIMIT ? OFFSET ?`, limit, offset)
	return rows, err
}

// packagesCalled returns what a query finds under these names: name, version, role
// and hardware ids of each.
func (s store) packagesCalled(ctx context.Context, ns uptane.Namespace, q PackageQuery, names []packageName) ([]delegatedTarget, error) {
	if len(names) == 0 {
		return nil, nil
	}
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.Name
	}
	var rows []delegatedTarget
	err := s.ask(ctx, &rows, `DISTINCT name, version, role, hardware`, ns, q, ` AND p.name IN (?)`, list)
	return rows, err
}

// packageHardware returns the hardware ids of packages, as hardwareText writes them.
func (s store) packageHardware(ctx context.Context, ns uptane.Namespace) ([]string, error) {
	var texts []string
	err := s.ask(ctx, &texts, `DISTINCT hardware`, ns, PackageQuery{}, "")
	return texts, err
}

func (s store) packagesNamed(ctx context.Context, ns uptane.Namespace, filename string) ([]delegatedTarget, error) {
	var rows []delegatedTarget
	err := s.ask(ctx, &rows, `role, `+targetColumns, ns, PackageQuery{Filenames: []string{filename}}, "")
	return rows, err
}

// uncataloguedTarget is a target whose hardware ids are not in their column yet; its
// role is empty at the top level.
type uncataloguedTarget struct {
	Namespace uptane.Namespace `db:"namespace"`
	delegatedTarget
}

// uncatalogued returns at most limit of them, of all namespaces.
func (s store) uncatalogued(ctx context.Context, limit int) ([]uncataloguedTarget, error) {
	var rows []uncataloguedTarget
	err := s.db.SelectContext(ctx, &rows,
		`SELECT namespace, '' AS role, filename, entry, added_at FROM repo_target WHERE hardware = '?'
		UNION ALL SELECT namespace, role, filename, entry, added_at FROM repo_delegated_target WHERE hardware = '?' LIMIT $1`, limit)
	return rows, err
}

func (s store) catalogue(ctx context.Context, rows []uncataloguedTarget) error {
	return s.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, t := range rows {
			query, args := `UPDATE repo_target SET hardware = $1, made_at = $2 WHERE namespace = $3 AND filename = $4 AND hardware = '?'`,
				[]any{t.Hardware, t.MadeAt, t.Namespace, t.Filename}
			if t.Role != "" {
				query, args = `UPDATE repo_delegated_target SET hardware = $1, made_at = $2 WHERE namespace = $3 AND filename = $4 AND role = $5 AND hardware = '?'`,
					append(args, t.Role)
			}
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
