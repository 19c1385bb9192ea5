// Package layers_test fails when an import points the wrong way.
//
// Packages lie on floors and import lower ones: formats, engines, services,
// edges, commands. Services never import one another, nor do edges; a few
// libraries may be used in few places. Test files are exempt.
package layers_test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "sealift"

// floor returns the floor of a package and the name of its room on it:
// packages of one room may import each other. -1 means that there is none.
func floor(pkg string) (level int, room string) {
	top, rest, _ := strings.Cut(pkg, "/")
	switch {
	case top == "uptane", pkg == "treehub/ostree", pkg == "internal/fault":
		return 0, "formats"
	case top == "internal", top == "fixtures":
		return 1, "engines"
	case slices.Contains([]string{"director", "repo", "treehub", "registry", "keys", "access"}, top):
		return 2, top
	case slices.Contains([]string{"gateway", "api", "console"}, top):
		return 3, top
	case top == "tools" && rest != "":
		command, _, _ := strings.Cut(rest, "/")
		return 4, "tools/" + command
	}
	return -1, ""
}

// places says where a library may be imported, besides test files.
var places = []struct {
	library string
	allowed func(file string) bool
	where   string
}{
	{"github.com/gin-gonic/gin", under("api", "gateway", "internal/web"), "api, gateway and internal/web"},
	{"github.com/lib/pq", under("internal/db"), "internal/db"},
	{"modernc.org/sqlite", under("internal/db"), "internal/db"},
	{"github.com/secure-systems-lab/go-securesystemslib/cjson", under("uptane/canonical"), "uptane/canonical"},
	{"gocloud.dev/blob/s3blob", under("tools/sealift"), "tools/sealift"},
	{"gocloud.dev/blob/gcsblob", under("tools/sealift"), "tools/sealift"},
	{"gocloud.dev/blob/azureblob", under("tools/sealift"), "tools/sealift"},
	{"gocloud.dev/secrets/awskms", under("tools/sealift"), "tools/sealift"},
	{"gocloud.dev/secrets/localsecrets", under("tools/sealift"), "tools/sealift"},
	{"github.com/aws", under("tools/sealift", "internal/kms"), "tools/sealift and internal/kms"},
	{"cloud.google.com/go", under("tools/sealift"), "tools/sealift"},
	{"github.com/Azure", under("tools/sealift"), "tools/sealift"},
}

func under(folders ...string) func(string) bool {
	return func(file string) bool {
		return slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(file, f+"/") })
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for _, problem := range check(t, os.DirFS("../..")) {
		t.Error(problem)
	}
}

// check returns what is wrong with the Go files of a tree.
func check(t *testing.T, tree fs.FS) []string {
	t.Helper()
	var problems []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." {
			base := path.Base(name)
			if strings.HasPrefix(base, ".") || base == "testdata" || base == "vendor" {
				return fs.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		problems = append(problems, checkFile(name, file)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func checkFile(name string, file *ast.File) []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, name+": "+fmt.Sprintf(format, args...))
	}
	test := strings.HasSuffix(name, "_test.go")
	pkg := path.Dir(name)
	if level, _ := floor(pkg); level < 0 && !test {
		add("package %s has no floor", pkg)
		return problems
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if isOf(imported, "github.com/ostreedev/ostree-go") && !needsTag(file, "libostree") {
			add("%s needs build tag libostree", imported)
		}
		if test {
			continue
		}
		if own, ok := strings.CutPrefix(imported, module+"/"); ok {
			if problem := checkImport(pkg, own); problem != "" {
				add("%s", problem)
			}
		}
		for _, p := range places {
			if isOf(imported, p.library) && !p.allowed(name) {
				add("%s may only be imported in %s", p.library, p.where)
			}
		}
		if imported == "github.com/jmoiron/sqlx" {
			problems = append(problems, checkSqlx(name, file)...)
		}
	}
	if !test && !isStore(name) {
		problems = append(problems, checkStatements(name, file)...)
	}
	return problems
}

func isOf(imported, library string) bool {
	return imported == library || strings.HasPrefix(imported, library+"/")
}

func checkImport(pkg, imported string) string {
	from, room := floor(pkg)
	to, itsRoom := floor(imported)
	switch {
	case to < 0:
		return fmt.Sprintf("imports %s, which has no floor", imported)
	case to > from:
		return fmt.Sprintf("floor %d imports %s on floor %d above it", from, imported, to)
	case to == from && room != itsRoom:
		return fmt.Sprintf("imports its neighbour %s on floor %d", imported, from)
	}
	return ""
}

// isStore reports whether a file may hold SQL.
func isStore(name string) bool {
	return strings.HasPrefix(path.Base(name), "store") || strings.HasPrefix(name, "internal/db/")
}

// checkSqlx allows sqlx where SQL is and in the main file of a service. Other
// files from the services upwards may name what a transaction is handed on as.
func checkSqlx(name string, file *ast.File) []string {
	level, _ := floor(path.Dir(name))
	mainFile := path.Base(path.Dir(name)) + ".go"
	if isStore(name) || level == 2 && path.Base(name) == mainFile {
		return nil
	}
	if level < 2 {
		return []string{name + ": sqlx may only be imported in internal/db and above"}
	}
	var problems []string
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "sqlx" &&
			!slices.Contains([]string{"Tx", "ExtContext", "QueryerContext", "ExecerContext"}, s.Sel.Name) {
			problems = append(problems, fmt.Sprintf("%s: sqlx.%s belongs in store*.go; here a transaction may only be handed on", name, s.Sel.Name))
		}
		return true
	})
	return problems
}

var statement = regexp.MustCompile(`^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|WITH)\s+\S`)

func checkStatements(name string, file *ast.File) []string {
	var problems []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && statement.MatchString(text) {
				problems = append(problems, fmt.Sprintf("%s: SQL belongs in store*.go: %.40q", name, strings.TrimSpace(text)))
			}
		}
		return true
	})
	return problems
}

// needsTag reports whether a file is only built with the tag.
func needsTag(file *ast.File, tag string) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if x, err := constraint.Parse(c.Text); err == nil {
				without := x.Eval(func(t string) bool { return t != tag })
				with := x.Eval(func(string) bool { return true })
				return with && !without
			}
		}
	}
	return false
}

// TestGarageSignStaysSmall: the tool that holds offline keys links no web
// server, no database and no cloud.
func TestGarageSignStaysSmall(t *testing.T) {
	const tool = "../../tools/garage-sign"
	if _, err := os.Stat(tool); os.IsNotExist(err) {
		return
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", tool).CombinedOutput()
	if err != nil {
		t.Fatalf("listing imports of garage-sign: %v\n%s", err, out)
	}
	for imported := range strings.FieldsSeq(string(out)) {
		for _, banned := range []string{"github.com/gin-gonic/gin", "github.com/jmoiron/sqlx", "gocloud.dev", "database/sql",
			"github.com/lib/pq", "modernc.org/sqlite", "github.com/aws"} {
			if isOf(imported, banned) {
				t.Errorf("garage-sign links %s", imported)
			}
		}
	}
}

// TestFaultsAreFound plants one fault after the other in a good tree.
func TestFaultsAreFound(t *testing.T) {
	good := map[string]string{
		"uptane/open.go":            `package uptane; import _ "sealift/internal/fault"`,
		"treehub/ostree/commit.go":  `package ostree`,
		"treehub/treehub.go":        `package treehub; import ("sealift/treehub/ostree"; "sealift/internal/db"; "github.com/jmoiron/sqlx"); var _ sqlx.DB`,
		"treehub/store_ref.go":      "package treehub; const q = `\n SELECT name FROM treehub_ref`",
		"treehub/journal.go":        `package treehub; import "github.com/jmoiron/sqlx"; func F(tx *sqlx.Tx) {}`,
		"treehub/treehub_test.go":   `package treehub_test; import (_ "sealift/director"; _ "github.com/gin-gonic/gin"); const q = "SELECT x FROM y"`,
		"director/campaign/tick.go": `package campaign; import _ "sealift/director"`,
		"api/route.go":              `package api; import (_ "sealift/treehub"; _ "github.com/gin-gonic/gin")`,
		"internal/kms/kms.go":       `package kms; import _ "github.com/aws/aws-sdk-go-v2/service/kms"`,
		"tools/sealift/main.go":     `package main; import (_ "sealift/api"; _ "gocloud.dev/blob/s3blob")`,
		"fixtures/libostree.go":     "//go:build libostree && linux\n\npackage fixtures; import _ \"github.com/ostreedev/ostree-go/pkg/otbuiltin\"",
	}
	if problems := check(t, tree(good, "", "")); len(problems) > 0 {
		t.Fatalf("a good tree: %q", problems)
	}
	faults := []struct{ file, text, want string }{
		{"uptane/up.go", `package uptane; import _ "sealift/internal/db"`, "floor 0 imports internal/db on floor 1 above it"},
		{"internal/web/up.go", `package web; import _ "sealift/keys"`, "floor 1 imports keys on floor 2 above it"},
		{"repo/side.go", `package repo; import _ "sealift/director"`, "imports its neighbour director on floor 2"},
		{"gateway/side.go", `package gateway; import _ "sealift/api"`, "imports its neighbour api on floor 3"},
		{"tools/garage-push/side.go", `package main; import _ "sealift/tools/sealift"`, "imports its neighbour tools/sealift"},
		{"util/util.go", `package util`, "package util has no floor"},
		{"keys/gin.go", `package keys; import _ "github.com/gin-gonic/gin"`, "gin may only be imported in api"},
		{"keys/pq.go", `package keys; import _ "github.com/lib/pq"`, "pq may only be imported in internal/db"},
		{"uptane/cjson.go", `package uptane; import _ "github.com/secure-systems-lab/go-securesystemslib/cjson"`, "only be imported in uptane/canonical"},
		{"keys/kms.go", `package keys; import _ "github.com/aws/aws-sdk-go-v2/service/kms"`, "only be imported in tools/sealift and internal/kms"},
		{"repo/s3.go", `package repo; import _ "gocloud.dev/blob/s3blob"`, "only be imported in tools/sealift"},
		{"keys/sign.go", `package keys; import "github.com/jmoiron/sqlx"; var _ = sqlx.In`, "sqlx.In belongs in store*.go"},
		{"api/sql.go", `package api; import "github.com/jmoiron/sqlx"; var _ *sqlx.DB`, "sqlx.DB belongs in store*.go"},
		{"internal/hub/sql.go", `package hub; import "github.com/jmoiron/sqlx"; var _ *sqlx.Tx`, "sqlx may only be imported in internal/db and above"},
		{"keys/query.go", "package keys; const q = `\n\tINSERT INTO keys_key (id) VALUES ($1)`", "SQL belongs in store*.go"},
		{"fixtures/cgo_test.go", `package fixtures; import _ "github.com/ostreedev/ostree-go/pkg/otbuiltin"`, "needs build tag libostree"},
		{"fixtures/not.go", "//go:build !libostree\n\npackage fixtures; import _ \"github.com/ostreedev/ostree-go/pkg/otbuiltin\"", "needs build tag libostree"},
	}
	for _, f := range faults {
		problems := check(t, tree(good, f.file, f.text))
		if len(problems) != 1 || !strings.Contains(problems[0], f.want) || !strings.HasPrefix(problems[0], f.file) {
			t.Errorf("%s: %q, want %q", f.file, problems, f.want)
		}
	}
}

func tree(files map[string]string, extra, text string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	if extra != "" {
		m[extra] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}
