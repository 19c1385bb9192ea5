package layers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logVariable names the file with the events of a whole test run (go test -json).
// The gate sets it, once everything has run.
const logVariable = "SEALIFT_TEST_LOG"

// register is a table in docs: rows that are done name the tests that prove it.
type register struct {
	title string
	file  string
	rows  []string // their ids, in order
	done  []string // states in which a row names tests; in "open" none does
}

func registers() []register {
	requirements := register{title: "requirements", file: "requirements.md", done: []string{"proved"}}
	for _, group := range []struct {
		letter string
		rows   int
	}{{"A", 76}, {"B", 63}, {"C", 48}, {"D", 50}, {"E", 57}} {
		requirements.rows = append(requirements.rows, numbered(group.letter, group.rows)...)
	}
	return []register{requirements, {"conformance", "conformance.md", numbered("", 92), []string{"conformant", "client's duty, simulated"}}}
}

func numbered(letter string, count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = letter + strconv.Itoa(i+1)
	}
	return ids
}

var (
	registerRow = regexp.MustCompile(`(?m)^\| ([A-Z]?[0-9]+) \| .+ \| ([a-z', ]+) \| ?(.*?) ?\|$`)
	namedTest   = regexp.MustCompile("`([^`]+)`")
	testName    = regexp.MustCompile(`^([a-z0-9/-]+)/((?:Test|Fuzz)\w+)((?:/[^/]+)*)$`)
)

// check reads a register and returns how many rows are in each state, and what is
// wrong with it. judge says what is wrong with a test.
func (r register) check(text string, judge func(test string) error) (map[string]int, []string) {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, r.file+": "+fmt.Sprintf(format, args...))
	}
	states, next := map[string]int{}, 0
	for _, row := range registerRow.FindAllStringSubmatch(text, -1) {
		id, state, tests := row[1], row[2], namedTest.FindAllStringSubmatch(row[3], -1)
		if next >= len(r.rows) || id != r.rows[next] {
			add("row %s is not the next one", id)
			return states, problems
		}
		next++
		states[state]++
		if done := slices.Contains(r.done, state); !done && state != "open" || done != (len(tests) > 0) {
			add("row %s is %q and names %d tests", id, state, len(tests))
		}
		for _, test := range tests {
			if err := judge(test[1]); err != nil {
				add("row %s: %v", id, err)
			}
		}
	}
	if next < len(r.rows) {
		add("row %s is missing", r.rows[next])
	}
	return states, problems
}

func (r register) summary(states map[string]int) string {
	var parts []string
	for _, state := range append(slices.Clone(r.done), "open") {
		parts = append(parts, fmt.Sprintf("%d %s", states[state], state))
	}
	return r.title + ": " + strings.Join(parts, ", ")
}

// testOf returns the folder of a named test, its function and its parts.
func testOf(name string) (folder, function string, parts []string, err error) {
	if script, ok := strings.CutSuffix(name, ".txtar"); ok {
		return "tools", "TestScripts", []string{script}, nil
	}
	m := testName.FindStringSubmatch(name)
	if m == nil {
		return "", "", nil, fmt.Errorf("%s is no name of a test", name)
	}
	if m[3] != "" {
		parts = strings.Split(m[3][1:], "/")
	}
	return m[1], m[2], parts, nil
}

// TestRegisters: the registers have each row once and in order, and the tests they
// name exist; after a whole run, they have also passed.
func TestRegisters(t *testing.T) {
	judge := exists(t, os.DirFS("../.."))
	if log := os.Getenv(logVariable); log != "" {
		judge = passed(t, log)
	}
	var summary []string
	for _, r := range registers() {
		states, problems := r.check(document(t, r.file), judge)
		for _, problem := range problems {
			t.Error(problem)
		}
		summary = append(summary, r.summary(states))
	}
	fmt.Println(strings.Join(summary, "; "))
}

// exists looks for tests in a tree: functions by name, parts of them as texts that
// stand somewhere in the Go files, or as scripts.
func exists(t *testing.T, tree fs.FS) func(test string) error {
	t.Helper()
	functions, texts := map[string]bool{}, map[string]bool{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".") {
			return firstOf(err, fs.SkipDir)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				functions[path.Dir(name)+"/"+n.Name.Name] = n.Recv == nil && strings.HasSuffix(name, "_test.go")
			case *ast.BasicLit:
				text, _ := strconv.Unquote(n.Value)
				texts[strings.ReplaceAll(strings.Trim(text, "/"), " ", "_")] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(test string) error {
		folder, function, parts, err := testOf(test)
		if err != nil {
			return err
		}
		if !functions[folder+"/"+function] {
			return fmt.Errorf("there is no test %s", test)
		}
		for _, part := range parts {
			_, err := fs.Stat(tree, folder+"/testdata/"+part+".txtar")
			if script := strings.HasPrefix(function, "TestScripts"); err != nil && (script || !texts[part]) {
				return fmt.Errorf("test %s has no part %s", test, part)
			}
		}
		return nil
	}
}

func firstOf(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// passed looks for tests in the events of a run. One that was skipped, or is part
// of one that was, does where skips are no failures.
func passed(t *testing.T, log string) func(test string) error {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ends := map[string]string{}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var e struct{ Action, Package, Test string }
		if json.Unmarshal(line, &e) == nil && (e.Action == "pass" || e.Action == "skip" && ends[e.Package+"/"+e.Test] == "") {
			ends[e.Package+"/"+e.Test] = e.Action
		}
		if err != nil {
			break
		}
	}
	return func(test string) error {
		folder, function, parts, err := testOf(test)
		if err != nil {
			return err
		}
		name := module + "/" + folder + "/" + function
		skipped := ends[name] == "skip"
		for _, part := range parts {
			name += "/" + part
			skipped = skipped || ends[name] == "skip"
		}
		if ends[name] == "pass" || skipped && os.Getenv("CI") == "" {
			return nil
		}
		return fmt.Errorf("test %s did not run, or did not pass", test)
	}
}

// TestFaultsInRegistersAreFound plants one fault each.
func TestFaultsInRegistersAreFound(t *testing.T) {
	log := t.TempDir() + "/log"
	events := `{"Action":"pass","Package":"sealift/a","Test":"TestA/x"}` + "\n" + `{"Action":"fail","Package":"sealift/a","Test":"TestB"}` + "\n" +
		`{"Action":"pass","Package":"sealift/tools","Test":"TestScripts/s"}` + "\n"
	if err := os.WriteFile(log, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	r := register{"x", "x.md", numbered("A", 2), []string{"proved"}}
	const good = "| A1 | do | proved | `a/TestA/x`, `s.txtar` |\n| A2 | do | open | |\n"
	for name, c := range map[string]struct{ old, new, want string }{
		"none":             {"", "", ""},
		"row missing":      {"| A1 ", "", "row A2 is not the next one"},
		"last row missing": {"| A2 ", "", "row A2 is missing"},
		"row twice":        {"| A2 ", "| A1 ", "row A1 is not the next one"},
		"row too many":     {"open | |", "open | |\n| A3 | do | open | |", "row A3 is not the next one"},
		"unknown state":    {"open | |", "nearly | |", `row A2 is "nearly"`},
		"proof missing":    {"`a/TestA/x`, `s.txtar`", "", `row A1 is "proved" and names 0 tests`},
		"open with proof":  {"open | |", "open | `a/TestA/x` |", `row A2 is "open" and names 1 tests`},
		"no test":          {"a/TestA/x", "a/testA", "a/testA is no name of a test"},
		"failed":           {"a/TestA/x", "a/TestB", "a/TestB did not run"},
		"script not run":   {"s.txtar", "t.txtar", "t.txtar did not run"},
	} {
		_, problems := r.check(strings.Replace(good, c.old, c.new, 1), passed(t, log))
		if got := strings.Join(problems, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q", name, got)
		}
	}
	judge := exists(t, os.DirFS("../.."))
	for _, test := range []string{"internal/layers/TestNothing", "internal/layers/TestRegisters/no_such" + "_part", "no.txtar", "api/TestRegisters"} {
		if judge(test) == nil {
			t.Errorf("%s exists", test)
		}
	}
}

// TestProjectPages: what a project owes those who find it.
func TestProjectPages(t *testing.T) {
	for page, want := range map[string][]string{
		"LICENSE":         {"Apache License", "Version 2.0"},
		"SECURITY.md":     {"How to report", "private vulnerability report"},
		"CONTRIBUTING.md": {"Set up", "Tests", "Before you send"},
	} {
		text := document(t, "../"+page)
		for _, words := range want {
			if !strings.Contains(text, words) {
				t.Errorf("%s has nothing of %q", page, words)
			}
		}
	}
}
