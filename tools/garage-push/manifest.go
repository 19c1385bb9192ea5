package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Limits of a manifest; those of real products have some hundred kilobytes.
const (
	maxManifest      = 4 << 20
	maxManifestDepth = 10
)

// readManifest turns a manifest of Android's repo tool into JSON: an element
// is an object, its attributes members "@name", its text "#text"; elements of
// one name are an array, a lone one is not.
func readManifest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading repo manifest: %w", err)
	}
	defer f.Close()
	doc, err := manifestJSON(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("reading repo manifest %s: %w", path, err)
	}
	return doc, nil
}

func manifestJSON(r io.Reader) ([]byte, error) {
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	d := xml.NewDecoder(limited)
	top := map[string]any{}
	if err := readElements(d, top, 0); err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("it has more than %d bytes", maxManifest)
		}
		return nil, err
	}
	if len(top) == 0 {
		return nil, errors.New("it has no element")
	}
	return json.Marshal(top) // sorts the members
}

// readElements adds what follows to the element in, up to its end.
func readElements(d *xml.Decoder, in map[string]any, depth int) error {
	if depth > maxManifestDepth {
		return fmt.Errorf("its elements are nested more than %d deep", maxManifestDepth)
	}
	var text strings.Builder
	for {
		token, err := d.Token()
		if err == io.EOF && depth == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			child := map[string]any{}
			for _, a := range t.Attr {
				child["@"+a.Name.Local] = a.Value
			}
			if err := readElements(d, child, depth+1); err != nil {
				return err
			}
			addElement(in, t.Name.Local, child)
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if s := strings.TrimSpace(text.String()); s != "" {
				in["#text"] = s
			}
			return nil
		}
	}
}

func addElement(in map[string]any, name string, child map[string]any) {
	switch known := in[name].(type) {
	case nil:
		in[name] = child
	case []any:
		in[name] = append(known, child)
	default:
		in[name] = []any{known, child}
	}
}
