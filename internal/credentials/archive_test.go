package credentials_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealift/fixtures"
	"sealift/internal/credentials"
)

const sealedKey = `{"kdf":{"name":"scrypt"},"cipher":{"name":"nacl/secretbox"},"ciphertext":"AA=="}`

func buildArchive() credentials.BuildArchive {
	return credentials.BuildArchive{
		TreeHub: credentials.NewTreeHub("https://api.example:9443/api/v3/", &credentials.OAuth2{
			Server: "https://api.example:9443/oauth2/token", ClientID: "id", ClientSecret: "secret", Scope: "s"}),
		TufRepoURL: "https://api.example:9443", GatewayURL: "https://api.example:9443",
		RootJSON: []byte(`{"signed":{}}`), TargetsPub: []byte(`{"keytype":"ED25519"}`),
		TargetsSec: []byte(sealedKey), ServerCA: []byte("ca"),
		AutoprovURL: "https://gw.example:8443", AutoprovP12: []byte("p12"),
	}
}

func TestBuildArchiveRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "build.zip")
	if err := buildArchive().Write(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	a, err := credentials.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"treehub.json", "tufrepo.url", "api_gateway.url", "autoprov.url", "autoprov_credentials.p12",
		"root.json", "targets.pub", "targets.sec", "server_ca.pem"}
	if !slices.Equal(a.Names(), want) {
		t.Errorf("members %v, want %v", a.Names(), want)
	}
	hub, err := a.TreeHub()
	if err != nil || hub.Server() != "https://api.example:9443/api/v3/" || hub.OAuth2.ClientSecret != "secret" || hub.NoAuth {
		t.Errorf("treehub.json = %+v, %v", hub, err)
	}
	if u, err := a.AutoprovURL(); err != nil || u != "https://gw.example:8443" {
		t.Errorf("autoprov.url = %q, %v", u, err)
	}
	if _, err := a.ClientP12(); !errors.Is(err, credentials.ErrNoMember) {
		t.Errorf("an absent member gives %v", err)
	}

	again := filepath.Join(dir, "again.zip")
	if err := buildArchive().Write(again); err != nil {
		t.Fatal(err)
	}
	if x, y := read(t, path), read(t, again); !bytes.Equal(x, y) {
		t.Error("the same content must give the same bytes")
	}
}

func TestBuildArchiveWithoutProvisioning(t *testing.T) {
	b := buildArchive()
	b.AutoprovURL, b.AutoprovP12 = "", nil
	path := filepath.Join(t.TempDir(), "build.zip")
	if err := b.Write(path); err != nil {
		t.Fatal(err)
	}
	a, err := credentials.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Has("autoprov.url") || a.Has("autoprov_credentials.p12") {
		t.Errorf("members %v", a.Names())
	}
}

func TestBuildArchiveRefusesPlaintextKey(t *testing.T) {
	b := buildArchive()
	b.TargetsSec = []byte(`{"keyval":{"private":"00"},"keytype":"ED25519"}`)
	path := filepath.Join(t.TempDir(), "build.zip")
	if err := b.Write(path); err == nil || !strings.Contains(err.Error(), "plaintext") {
		t.Errorf("a plaintext key was taken: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("something was written")
	}
	b.InsecurePlaintext = true
	if err := b.Write(path); err != nil {
		t.Error(err)
	}
}

func TestDeviceArchiveHasFourMembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.zip")
	d := credentials.DeviceArchive{AutoprovURL: "https://gw.example:8443", AutoprovP12: []byte("p"), ServerCA: []byte("c"), RootJSON: []byte("{}")}
	if err := d.Write(path); err != nil {
		t.Fatal(err)
	}
	a, err := credentials.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"autoprov.url", "autoprov_credentials.p12", "server_ca.pem", "root.json"}
	if !slices.Equal(a.Names(), want) {
		t.Errorf("members %v, want %v", a.Names(), want)
	}
	d.ServerCA = nil
	if err := d.Write(path); err == nil {
		t.Error("an archive without server_ca.pem was written")
	}
}

func TestLastDuplicateWins(t *testing.T) {
	data := zipped(t, credentials.File{Name: "tufrepo.url", Content: []byte("https://old.example")},
		credentials.File{Name: "tufrepo.url", Content: []byte(" https://new.example/ \n")})
	a, err := credentials.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := a.TufRepoURL(); err != nil || u != "https://new.example/" {
		t.Errorf("tufrepo.url = %q, %v", u, err)
	}
	if len(a.Names()) != 1 {
		t.Errorf("names %v", a.Names())
	}
}

func TestBareTreeHubJSON(t *testing.T) {
	a, err := credentials.Parse([]byte("\n{\"no_auth\":true,\"ostree\":{\"server\":\"http://localhost/api/v3\"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if hub, err := a.TreeHub(); err != nil || !hub.NoAuth || hub.Server() != "http://localhost/api/v3" {
		t.Errorf("treehub.json = %+v, %v", hub, err)
	}
}

func TestBadArchives(t *testing.T) {
	var many []credentials.File
	for i := range 300 {
		many = append(many, credentials.File{Name: strings.Repeat("x", i+1)})
	}
	big := make([]byte, 900<<10)
	for name, data := range map[string][]byte{
		"empty":            nil,
		"text":             []byte("hello"),
		"not an object":    []byte("[1]"),
		"half an object":   []byte(`{"ostree":`),
		"zip bomb":         zipped(t, credentials.File{Name: "treehub.json", Content: make([]byte, 2<<20)}),
		"many big members": zipped(t, files(big, 12)...),
		"many members":     zipped(t, many...),
		"cut short":        zipped(t, credentials.File{Name: "a", Content: []byte("b")})[:30],
	} {
		if _, err := credentials.Parse(data); !errors.Is(err, credentials.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadURL(t *testing.T) {
	for _, u := range []string{"", "example.com", "file:///etc/passwd", "https://", "https://a\nb"} {
		a, err := credentials.Parse(zipped(t, credentials.File{Name: "tufrepo.url", Content: []byte(u)}))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.TufRepoURL(); err == nil {
			t.Errorf("%q taken as %q", u, got)
		}
	}
}

// FuzzParse: whatever opens can be written again and opens to the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"ostree":{"server":"https://a"}}`))
	f.Add(zipped(f, credentials.File{Name: "tufrepo.url", Content: []byte("https://a")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a *credentials.Archive
		var err error
		if cost := fixtures.Allocated(func() { a, err = credentials.Parse(data) }); cost > 64<<20 {
			t.Errorf("%d bytes cost %d", len(data), cost)
		}
		if err != nil {
			return
		}
		_, _ = a.Auth()
		_, _ = a.TufRepoURL()
		path := filepath.Join(t.TempDir(), "a.zip")
		var list []credentials.File
		for _, n := range a.Names() {
			if strings.HasSuffix(n, "/") || len(n) > 1<<15 {
				return
			}
			content, _ := a.Member(n)
			list = append(list, credentials.File{Name: n, Content: content})
		}
		if err := credentials.WriteFile(path, list); err != nil {
			t.Fatal(err)
		}
		b, err := credentials.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if got, err := b.Member(m.Name); err != nil || !bytes.Equal(got, m.Content) {
				t.Fatalf("%q: %v", m.Name, err)
			}
		}
	})
}

func files(content []byte, n int) []credentials.File {
	var list []credentials.File
	for i := range n {
		list = append(list, credentials.File{Name: string(rune('a' + i)), Content: content})
	}
	return list
}

// zipped makes an archive without this package's help.
func zipped(t testing.TB, list ...credentials.File) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, f := range list {
		w, err := z.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A device edits its archive in place and trusts the sizes in local headers.
func TestArchivesStateTheirSizesUpFront(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.zip")
	if err := credentials.WriteFile(path, []credentials.File{{Name: "autoprov.url", Content: []byte("https://ota.example.com")}}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const flags, size = 6, 18 // offsets in a local file header
	if raw[flags]&8 != 0 || raw[size] != byte(len("https://ota.example.com")) {
		t.Errorf("flags %#x, size %d: the size follows the data", raw[flags], raw[size])
	}
}
