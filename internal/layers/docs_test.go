package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
)

// services have tables.
var services = []string{"access", "director", "keys", "registry", "repo", "treehub"}

// kinds are those of package fault, by the names that source files use.
var kinds = map[string]fault.Kind{
	"Invalid": fault.Invalid, "Unauthorized": fault.Unauthorized, "Forbidden": fault.Forbidden, "NotFound": fault.NotFound,
	"MethodNotAllowed": fault.MethodNotAllowed, "NotAcceptable": fault.NotAcceptable, "Conflict": fault.Conflict, "Gone": fault.Gone,
	"LengthRequired": fault.LengthRequired, "PreconditionFailed": fault.PreconditionFailed, "TooLarge": fault.TooLarge,
	"UnsupportedMedia": fault.UnsupportedMedia, "RangeNotSatisfiable": fault.RangeNotSatisfiable, "Locked": fault.Locked,
	"FailedDependency": fault.FailedDependency, "PreconditionRequired": fault.PreconditionRequired, "TooMany": fault.TooMany,
	"Unimplemented": fault.Unimplemented, "BadGateway": fault.BadGateway, "Unavailable": fault.Unavailable, "Full": fault.Full,
}

// source is what the documents are held against: all Go files but tests.
type source struct {
	folders map[string]bool   // with Go files, tests included
	names   map[string]bool   // "Type.Method", "package.Name"
	faults  map[string]string // code -> statuses
}

func readSource(t *testing.T, tree fs.FS) source {
	t.Helper()
	s := source{map[string]bool{}, map[string]bool{}, map[string]string{}}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		s.folders[path.Dir(name)] = true
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/fault/") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err == nil {
			s.read(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s source) read(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			of := file.Name.Name
			if n.Recv != nil {
				of = receiver(n.Recv.List[0].Type)
			}
			s.names[of+"."+n.Name.Name] = true
		case *ast.TypeSpec:
			s.names[file.Name.Name+"."+n.Name.Name] = true
		case *ast.ValueSpec:
			for _, name := range n.Names {
				s.names[file.Name.Name+"."+name.Name] = true
			}
		case *ast.CallExpr:
			s.readFault(n)
		}
		return true
	})
}

func receiver(e ast.Expr) string {
	if p, ok := e.(*ast.StarExpr); ok {
		e = p.X
	}
	if x, ok := e.(*ast.IndexExpr); ok {
		e = x.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// readFault notes fault.New(fault.KIND, "CODE", ...).
func (s source) readFault(call *ast.CallExpr) {
	if f, ok := call.Fun.(*ast.SelectorExpr); !ok || len(call.Args) != 3 || f.Sel.Name != "New" || !isIdent(f.X, "fault") {
		return
	}
	kind, okKind := call.Args[0].(*ast.SelectorExpr)
	lit, okCode := call.Args[1].(*ast.BasicLit)
	if !okKind || !okCode {
		return
	}
	code, _ := strconv.Unquote(lit.Value)
	s.faults[code] = with(s.faults[code], strconv.Itoa(kinds[kind.Sel.Name].Status()))
}

// with adds a word to a sorted list of distinct ones: a code may have several
// statuses.
func with(list, word string) string {
	words := append(strings.Fields(list), word)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestArchitectureNamesWhatIsThere: docs/architecture.md has a line for every
// folder, and the functions and types it names exist.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	code, text := readSource(t, os.DirFS("../..")), document(t, "architecture.md")
	for _, folder := range slices.Sorted(maps.Keys(code.folders)) {
		if !strings.Contains(text, "| `"+folder+"/`") {
			t.Errorf("architecture.md has no line for %s/", folder)
		}
	}
	for _, m := range regexp.MustCompile("\\| `([a-z/-]+)/` \\|").FindAllStringSubmatch(text, -1) {
		if info, err := os.Stat("../../" + m[1]); err != nil || !info.IsDir() {
			t.Errorf("architecture.md has a line for %s/, which is not there", m[1])
		}
	}
	library := []string{"tls.RequestClientCert"}
	files := []string{"md", "go", "sql", "json", "yaml", "zip", "url", "com"}
	for _, m := range regexp.MustCompile("`([A-Za-z]+\\.([A-Za-z]+))`").FindAllStringSubmatch(text, -1) {
		if !code.names[m[1]] && !slices.Contains(library, m[1]) && !slices.Contains(files, m[2]) {
			t.Errorf("architecture.md names %s, which is not there", m[1])
		}
	}
}

// TestFormatsHasEveryCode: docs/formats.md lists every fault with its status,
// and no other.
func TestFormatsHasEveryCode(t *testing.T) {
	have := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([0-9]{3}) \\|").FindAllStringSubmatch(document(t, "formats.md"), -1) {
		have[m[1]] = with(have[m[1]], m[2])
	}
	compare(t, readSource(t, os.DirFS("../..")).faults, have)
}

// TestFormatsDrawsEveryTable: docs/formats.md draws the tables as the migrations
// leave them: columns in order, types, keys, what may be absent.
func TestFormatsDrawsEveryTable(t *testing.T) {
	d := dbtest.SQLite(t)
	for _, service := range services {
		if err := db.Migrate(t.Context(), d, service, os.DirFS("../../"+service)); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, tables(t, d), drawn(document(t, "formats.md")))
}

// tables returns the columns of each table, one a line.
func tables(t *testing.T, d *db.DB) map[string]string {
	t.Helper()
	var columns []struct {
		Table, Name, Type string
		Required, Key     int
	}
	err := sqlx.SelectContext(t.Context(), d, &columns, `
		SELECT m.name AS "table", c.name, c.type, c."notnull" AS required, c.pk AS "key"
		FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range columns {
		mark := ""
		if c.Key > 0 {
			mark = "PK"
		} else if c.Required == 0 {
			mark = "NULL"
		}
		found[c.Table] += column(c.Name, c.Type, mark)
	}
	return found
}

func column(name, kind, mark string) string {
	return strings.TrimSpace(name+" "+kind+" "+mark) + "\n"
}

var (
	tableLine  = regexp.MustCompile(`^([a-z_]+)  +\S`)
	columnLine = regexp.MustCompile(`^  ([a-z0-9_]+) +(TEXT|BIGINT|BOOLEAN|BYTEA)(?: +(PK|NULL)\b)?`)
)

// drawn reads what tables returns out of a document.
func drawn(text string) map[string]string {
	found, table := map[string]string{}, ""
	for line := range strings.Lines(text) {
		if m := columnLine.FindStringSubmatch(line); m != nil {
			found[table] += column(m[1], m[2], m[3])
		} else if m := tableLine.FindStringSubmatch(line); m != nil {
			table = m[1]
		}
	}
	return found
}

// compare holds what formats.md has against what is so.
func compare(t *testing.T, want, have map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if have[name] != want[name] {
			t.Errorf("formats.md has of %s:\n%s\nbut it is\n%s", name, have[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			t.Errorf("formats.md has %s, which is not there", name)
		}
	}
}
