package web

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is the part of an OpenAPI 3.1 document that is compared and shown.
type document struct {
	OpenAPI string `yaml:"openapi"`
	Info    struct {
		Title       string `yaml:"title"`
		Version     string `yaml:"version"`
		Description string `yaml:"description"`
	} `yaml:"info"`
	Tags []struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	} `yaml:"tags"`
	Security   []map[string][]string `yaml:"security"`
	Paths      map[string]pathItem   `yaml:"paths"`
	Components struct {
		Parameters map[string]parameter     `yaml:"parameters"`
		Responses  map[string]responseEntry `yaml:"responses"`
	} `yaml:"components"`

	tree any // all of it as JSON has it: aliases and merges of YAML are gone
}

type pathItem struct {
	Parameters []parameter           `yaml:"parameters"`
	Operations map[string]*operation `yaml:",inline"`
}

type operation struct {
	ID          string                   `yaml:"operationId"`
	Summary     string                   `yaml:"summary"`
	Description string                   `yaml:"description"`
	Tags        []string                 `yaml:"tags"`
	Permission  string                   `yaml:"x-required-permission"`
	Security    *[]map[string][]string   `yaml:"security"`
	Parameters  []parameter              `yaml:"parameters"`
	Body        *requestBody             `yaml:"requestBody"`
	Responses   map[string]responseEntry `yaml:"responses"`
}

type requestBody struct {
	Description string         `yaml:"description"`
	Content     map[string]any `yaml:"content"`
}

type parameter struct {
	Name        string `yaml:"name"`
	In          string `yaml:"in"`
	Description string `yaml:"description"`
	Required    bool   `yaml:"required"`
	Ref         string `yaml:"$ref"`
}

type responseEntry struct {
	Description string `yaml:"description"`
	Ref         string `yaml:"$ref"`
}

func parseDocument(doc []byte) (document, error) {
	var d document
	var root yaml.Node
	err := yaml.Unmarshal(doc, &root)
	if err == nil {
		err = errors.Join(root.Decode(&d), root.Decode(&d.tree))
	}
	if err != nil {
		return document{}, fmt.Errorf("reading OpenAPI document: %w", err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		return document{}, fmt.Errorf("reading OpenAPI document: version is %q, want 3.1", d.OpenAPI)
	}
	d.tree = jsonTree(d.tree)
	if err := checkReferences(d.tree, d.tree); err != nil {
		return document{}, fmt.Errorf("reading OpenAPI document: %w", err)
	}
	return d, nil
}

// checkReferences fails if a reference in part leads to nothing in tree.
func checkReferences(tree, part any) error {
	switch part := part.(type) {
	case map[string]any:
		if ref, ok := part["$ref"].(string); ok && !leads(tree, ref) {
			return fmt.Errorf("reference %s leads to nothing", ref)
		}
		for _, name := range slices.Sorted(maps.Keys(part)) {
			if err := checkReferences(tree, part[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, v := range part {
			if err := checkReferences(tree, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// leads follows a reference within the document.
func leads(tree any, ref string) bool {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		object, _ := tree.(map[string]any)
		if tree, ok = object[name]; !ok {
			return false
		}
	}
	return true
}

// CompareOpenAPI returns how an OpenAPI 3.1 document in YAML and a route
// table differ; nothing means they agree. Both must hold the same methods and
// paths (:NAME and *NAME in a pattern are {NAME} in the document) with the
// same x-required-permission; public operations, and only they, have an empty
// security list; each variable of a path is declared; each operation has a
// summary, answers and an operationId of its own; references lead somewhere.
func CompareOpenAPI(doc []byte, routes []Route) []string {
	d, err := parseDocument(doc)
	if err != nil {
		return []string{err.Error()}
	}
	var diffs []string
	add := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	rows := map[string]Route{}
	for _, r := range routes {
		path, _ := openAPIPath(r.Pattern)
		rows[r.Method+" "+path] = r
	}
	ids := map[string]string{}
	for _, op := range d.entries() {
		key := op.Method + " " + op.Path
		r, ok := rows[key]
		if !ok {
			add("%s: documented, but no route", key)
			continue
		}
		delete(rows, key)
		if op.Permission != r.Permission {
			add("%s: x-required-permission is %q, the route demands %q", key, op.Permission, r.Permission)
		}
		if open := op.isOpen(d); open != (r.Permission == Public) {
			add("%s: permission %s, but documented with security: %v", key, r.Permission, !open)
		}
		if op.Summary == "" {
			add("%s: no summary", key)
		}
		if len(op.Responses) == 0 {
			add("%s: no responses", key)
		}
		if first, dup := ids[op.ID]; op.ID == "" || dup {
			add("%s: operationId %q is missing or that of %s too", key, op.ID, first)
		}
		ids[op.ID] = key
		diffs = append(diffs, compareParameters(key, r, op.Parameters)...)
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		add("%s: a route, but not documented", key)
	}
	return diffs
}

func compareParameters(key string, r Route, params []parameter) []string {
	var diffs []string
	_, want := openAPIPath(r.Pattern)
	for _, p := range params {
		if p.In != "path" {
			continue
		}
		i := slices.Index(want, p.Name)
		if i < 0 {
			diffs = append(diffs, fmt.Sprintf("%s: parameter %q is not in the path, or declared twice", key, p.Name))
			continue
		}
		if !p.Required {
			diffs = append(diffs, fmt.Sprintf("%s: path parameter %q must be required", key, p.Name))
		}
		want = slices.Delete(want, i, i+1)
	}
	for _, name := range want {
		diffs = append(diffs, fmt.Sprintf("%s: parameter %q is not declared", key, name))
	}
	return diffs
}

// isOpen reports whether the operation needs no authentication.
func (o *operation) isOpen(d document) bool {
	if o.Security != nil {
		return len(*o.Security) == 0
	}
	return len(d.Security) == 0
}

// entry is an operation with where it is.
type entry struct {
	Method, Path string // method in upper case
	*operation
	Parameters []parameter // of the path, then of the operation
	Responses  map[string]responseEntry
}

// entries returns the operations in the order of paths and methods.
func (d document) entries() []entry {
	var list []entry
	for _, name := range slices.Sorted(maps.Keys(d.Paths)) {
		item := d.Paths[name]
		for _, method := range slices.Sorted(maps.Keys(item.Operations)) {
			if op := item.Operations[method]; op != nil && isMethod(method) {
				list = append(list, entry{
					strings.ToUpper(method), name, op,
					d.parameters(slices.Concat(item.Parameters, op.Parameters)), d.responses(op.Responses),
				})
			}
		}
	}
	return list
}

// parameters puts what is declared for all operations in place of references.
func (d document) parameters(list []parameter) []parameter {
	for i, p := range list {
		if p.Ref != "" {
			list[i] = d.Components.Parameters[path.Base(p.Ref)]
		}
	}
	return list
}

// responses is what parameters is for responses.
func (d document) responses(list map[string]responseEntry) map[string]responseEntry {
	out := maps.Clone(list)
	for status, r := range out {
		if r.Ref != "" {
			out[status] = d.Components.Responses[path.Base(r.Ref)]
		}
	}
	return out
}

// isMethod tells operations from the other members of a path item.
func isMethod(name string) bool {
	return slices.Contains([]string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}, name)
}

// openAPIPath returns a pattern as OpenAPI writes it, and its variables.
func openAPIPath(pattern string) (path string, names []string) {
	segs := segments(pattern)
	for i, s := range segs {
		if s[0] == ':' || s[0] == '*' {
			names = append(names, s[1:])
			segs[i] = "{" + s[1:] + "}"
		}
	}
	return "/" + strings.Join(segs, "/"), names
}
