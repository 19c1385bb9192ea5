package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// maxAnswer bounds what is read of an answer of the api.
const maxAnswer = 64 << 20

// operatorFile is where init leaves the operator's file.
const operatorFile = "./sealift-out/operator.json"

// operatorFlags are the flags of every command that speaks the api.
type operatorFlags struct {
	file string
	json bool
}

func (f *operatorFlags) bind(c *cobra.Command) {
	path := os.Getenv("SEALIFT_OPERATOR")
	if path == "" {
		path = operatorFile
	}
	c.PersistentFlags().StringVar(&f.file, "operator", path, "file with the api's address and your token; $SEALIFT_OPERATOR")
	c.PersistentFlags().BoolVar(&f.json, "json", false, "print what the api answers")
}

// client speaks the api with the operator's token.
type client struct {
	operator
	http *http.Client
	json bool      // answers are printed as they are
	out  io.Writer // where results go
}

// open reads the operator's file.
func (f operatorFlags) open(c *cobra.Command) (*client, error) {
	raw, err := os.ReadFile(f.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usage(fmt.Errorf("there is no %s; name the operator's file with --operator or SEALIFT_OPERATOR", f.file))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the operator's file: %w", err)
	}
	var o operator
	if err := json.Unmarshal(raw, &o); err != nil || o.Server == "" || o.Token == "" {
		return nil, usage(fmt.Errorf("%s has no server and token: %w", f.file, errors.Join(err)))
	}
	client, err := newClient(o)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.file, err)
	}
	client.json, client.out = f.json, c.OutOrStdout()
	return client, nil
}

// newClient trusts the CA of the operator's file and nobody else; without one,
// whom the system trusts.
func newClient(o operator) (*client, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("ca holds no certificate")
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	o.Server = strings.TrimRight(o.Server, "/")
	return &client{operator: o, http: &http.Client{Transport: transport, Timeout: 2 * time.Minute}, out: io.Discard}, nil
}

// apiError is an answer of the api that says no.
type apiError struct {
	Status      int             `json:"-"`
	Code        string          `json:"code"`
	Description string          `json:"description"`
	Cause       json.RawMessage `json:"cause"`
}

// Error says it in the server's words, fit for a terminal.
func (e *apiError) Error() string {
	text := fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Description != "" {
		text = e.Description
	}
	var cause string
	if json.Unmarshal(e.Cause, &cause) != nil && len(e.Cause) > 0 && string(e.Cause) != "null" {
		cause = string(e.Cause)
	}
	if cause != "" {
		text += ": " + cause
	}
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	return plain(text)
}

// send makes one request and returns the body of the answer. Body is encoded
// unless nil. Answers that say no are an *apiError.
func (k *client) send(ctx context.Context, method, path string, body any, header http.Header) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, k.Server+path, reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+k.Token)
	req.Header.Set("User-Agent", "sealift/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	res, err := k.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(answer) > maxAnswer {
		return nil, fmt.Errorf("reading the answer to %s %s: too large, or %w", method, path, errors.Join(err))
	}
	if res.StatusCode/100 == 2 {
		return answer, nil
	}
	refusal := &apiError{Status: res.StatusCode}
	if json.Unmarshal(answer, refusal) != nil {
		refusal.Code, refusal.Description, refusal.Cause = "", "", nil
	}
	return nil, refusal
}

// get reads a JSON answer into v and returns it raw as well.
func (k *client) get(ctx context.Context, path string, v any) ([]byte, error) {
	return k.ask(ctx, http.MethodGet, path, nil, v)
}

func (k *client) ask(ctx context.Context, method, path string, body, v any) ([]byte, error) {
	raw, err := k.send(ctx, method, path, body, nil)
	if err != nil || v == nil {
		return raw, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return raw, fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return raw, nil
}

// show prints a raw answer where --json asks for it, and else calls table.
func (k *client) show(raw []byte, table func(io.Writer) error) error {
	if !k.json {
		return table(k.out)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err := fmt.Fprintln(k.out, plainJSON(pretty.String()))
	return err
}

// page is a page of a list of the api.
type page[T any] struct {
	Values []T `json:"values"`
	Total  int `json:"total"`
}

// pageFlags choose a page.
type pageFlags struct{ limit, offset int }

func (f *pageFlags) bind(c *cobra.Command) {
	c.Flags().IntVar(&f.limit, "limit", 50, "how many to show")
	c.Flags().IntVar(&f.offset, "offset", 0, "how many to pass over")
}

// query adds the page to the parameters of a list.
func (f pageFlags) query(path string, params url.Values) string {
	params.Set("limit", fmt.Sprint(f.limit))
	params.Set("offset", fmt.Sprint(f.offset))
	return path + "?" + params.Encode()
}

// rest says what a page leaves out.
func (f pageFlags) rest(w io.Writer, shown, total int) {
	if left := total - f.offset - shown; left > 0 {
		fmt.Fprintf(w, "%d of %d; more with --offset %d\n", shown, total, f.offset+shown)
	}
}

// devicePath is the api's path of a device, named by its id or its own name.
func devicePath(device string, more ...string) string {
	return "/api/v1/devices/" + url.PathEscape(device) + strings.Join(more, "")
}

// speak makes a command of the api: its function gets an open client.
func (f *operatorFlags) speak(c *cobra.Command, run func(k *client, c *cobra.Command, args []string) error) *cobra.Command {
	c.RunE = func(c *cobra.Command, given []string) error {
		k, err := f.open(c)
		if err != nil {
			return err
		}
		return run(k, c, given)
	}
	return c
}

// newPage makes a command that prints one answer of the api as A does, and fails
// where A has a verdict that says so.
func newPage[A interface{ print(io.Writer) error }](c *cobra.Command, path string) *cobra.Command {
	var f operatorFlags
	c.Args = args(cobra.NoArgs)
	f.speak(c, func(k *client, c *cobra.Command, _ []string) error {
		var a A
		raw, err := k.get(c.Context(), path, &a)
		if err == nil {
			err = k.show(raw, a.print)
		}
		if judged, ok := any(a).(interface{ verdict() error }); ok && err == nil {
			err = judged.verdict()
		}
		return err
	})
	f.bind(c)
	return c
}
