package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
	"gopkg.in/yaml.v3"
)

//go:embed docs.html
var docsPage string

//go:embed docs.css
var docsStyle string

// Docs returns the routes that show an OpenAPI 3.1 document in YAML: /docs as
// a page that needs no script and nothing from other servers, and the document
// itself as /docs/openapi.yaml and /docs/openapi.json. Anchors and merge keys,
// which keep the source short but not every reader of YAML knows, are gone.
// They are made when somebody first asks, so that a start does not wait for it.
func Docs(doc []byte) ([]Route, error) {
	d, err := parseDocument(doc)
	if err != nil {
		return nil, err
	}
	made := sync.OnceValues(func() (docsForms, error) { return makeDocs(d) })
	hash := sha256.Sum256([]byte(docsStyle))
	policy := "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
	show := func(path, contentType string, form func(docsForms) []byte) Route {
		return Route{Method: http.MethodGet, Pattern: path, Permission: Public, Handler: func(c *gin.Context) {
			forms, err := made()
			if err != nil {
				Fail(c, err)
				return
			}
			c.Header("Content-Security-Policy", policy)
			Raw(c, contentType, form(forms))
		}}
	}
	return []Route{
		show("/docs", "text/html; charset=utf-8", func(f docsForms) []byte { return f.page }),
		show("/docs/openapi.yaml", "application/yaml", func(f docsForms) []byte { return f.yaml }),
		show("/docs/openapi.json", "application/json", func(f docsForms) []byte { return f.json }),
	}, nil
}

// docsForms are the forms in which a document is shown.
type docsForms struct{ page, yaml, json []byte }

func makeDocs(d document) (docsForms, error) {
	page, errPage := renderDocs(d)
	asYAML, errYAML := yaml.Marshal(d.tree)
	asJSON, errJSON := json.Marshal(d.tree)
	if err := errors.Join(errPage, errYAML, errJSON); err != nil {
		return docsForms{}, fmt.Errorf("showing OpenAPI document: %w", err)
	}
	return docsForms{page, asYAML, asJSON}, nil
}

type docsGroup struct {
	Tag, Description string
	Entries          []entry
}

// renderDocs has the groups in the order in which the document declares tags.
func renderDocs(d document) ([]byte, error) {
	var groups []*docsGroup
	byTag := map[string]*docsGroup{}
	for _, t := range d.Tags {
		byTag[t.Name] = &docsGroup{Tag: t.Name, Description: t.Description}
		groups = append(groups, byTag[t.Name])
	}
	for _, e := range d.entries() {
		tag := strings.Join(e.Tags, ", ")
		if byTag[tag] == nil {
			byTag[tag] = &docsGroup{Tag: tag}
			groups = append(groups, byTag[tag])
		}
		byTag[tag].Entries = append(byTag[tag].Entries, e)
	}
	page, err := template.New("docs").Parse(docsPage)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{
		"Info": d.Info, "Groups": groups,
		"Style": template.HTML("<style>" + docsStyle + "</style>"), //nolint:gosec // our own file
	})
	return out.Bytes(), err
}

// jsonTree makes YAML's maps, whose keys may be numbers such as 200, fit for
// JSON.
func jsonTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = jsonTree(v[k])
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[fmt.Sprint(k)] = jsonTree(v[k])
		}
		return out
	case []any:
		for i := range v {
			v[i] = jsonTree(v[i])
		}
	}
	return v
}
