package credentials

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// File is one member of an archive that is to be written.
type File struct {
	Name    string
	Content []byte
}

// DeviceArchive is device.zip, what is baked into an image: these four
// members and nothing else. All are required.
type DeviceArchive struct {
	AutoprovURL string // the device gateway
	AutoprovP12 []byte // bootstrap certificate with the server roots; empty password
	ServerCA    []byte // PEM of the server roots
	RootJSON    []byte // signed root of the image repository
}

// Write stores the archive at path, as [WriteFile] does.
func (d DeviceArchive) Write(path string) error {
	files := []File{
		{memberAutoprovURL, []byte(d.AutoprovURL)},
		{memberAutoprovP12, d.AutoprovP12},
		{memberServerCA, d.ServerCA},
		{memberRoot, d.RootJSON},
	}
	if err := complete(files); err != nil {
		return fmt.Errorf("writing the device archive: %w", err)
	}
	return WriteFile(path, files)
}

// BuildArchive is build.zip, what a build job pushes and signs with.
type BuildArchive struct {
	TreeHub    TreeHub
	TufRepoURL string
	GatewayURL string
	RootJSON   []byte
	TargetsPub []byte
	TargetsSec []byte // sealed, a PKCS#11 URI or a marker; plain only with InsecurePlaintext
	ServerCA   []byte

	// The members an image build repacks into the device's archive. Both or
	// neither.
	AutoprovURL string
	AutoprovP12 []byte

	ClientP12 []byte // optional

	InsecurePlaintext bool // allow a TargetsSec that anybody who reads the archive can sign with
}

// Write stores the archive at path, as [WriteFile] does. It refuses a
// plaintext targets key unless InsecurePlaintext says otherwise.
func (b BuildArchive) Write(path string) error {
	treehub, err := json.Marshal(b.TreeHub)
	if err != nil {
		return fmt.Errorf("writing the build archive: %w", err)
	}
	if plaintextKey(b.TargetsSec) && !b.InsecurePlaintext {
		return errors.New("writing the build archive: targets.sec is a plaintext private key")
	}
	files := []File{
		{memberTreeHub, treehub},
		{memberTufRepoURL, []byte(b.TufRepoURL)},
		{memberGatewayURL, []byte(b.GatewayURL)},
	}
	if b.AutoprovURL != "" || len(b.AutoprovP12) > 0 {
		files = append(files, File{memberAutoprovURL, []byte(b.AutoprovURL)}, File{memberAutoprovP12, b.AutoprovP12})
	}
	files = append(files,
		File{memberRoot, b.RootJSON},
		File{memberTargetsPub, b.TargetsPub},
		File{memberTargetsSec, b.TargetsSec},
		File{memberServerCA, b.ServerCA},
	)
	if len(b.ClientP12) > 0 {
		files = append(files, File{memberClientP12, b.ClientP12})
	}
	if err := complete(files); err != nil {
		return fmt.Errorf("writing the build archive: %w", err)
	}
	return WriteFile(path, files)
}

// plaintextKey reports whether sec is a private key that is not sealed: JSON
// of the form {"keytype":...,"keyval":{"private":...}}.
func plaintextKey(sec []byte) bool {
	var key struct {
		Keyval struct {
			Private string `json:"private"`
		} `json:"keyval"`
	}
	return json.Unmarshal(sec, &key) == nil && key.Keyval.Private != ""
}

func complete(files []File) error {
	for _, f := range files {
		if len(f.Content) == 0 {
			return fmt.Errorf("%s is empty", f.Name)
		}
	}
	return nil
}

// WriteFile stores files as a ZIP archive at path, readable by its owner
// alone, replacing what was there in one step. The same files in the same
// order give the same bytes.
func WriteFile(path string, files []File) (err error) {
	var buf bytes.Buffer
	if err := writeZIP(&buf, files); err != nil {
		return fmt.Errorf("writing archive %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".archive-*") // 0600 from the start
	if err != nil {
		return fmt.Errorf("writing archive %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
			err = fmt.Errorf("writing archive %s: %w", path, err)
		}
	}()
	_, err = tmp.Write(buf.Bytes())
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// writeZIP stores the members uncompressed with their sizes in front: aktualizr
// takes the shared certificate out of its archive by copying the other members
// with the sizes their local headers state, and would empty those whose size
// only follows in a data descriptor - the gateway's address among them.
func writeZIP(w io.Writer, files []File) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		// No time stamp: it would make equal archives differ.
		size := uint64(len(f.Content))
		header := &zip.FileHeader{
			Name: f.Name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(f.Content), CompressedSize64: size, UncompressedSize64: size,
		}
		header.SetMode(0o600)
		m, err := z.CreateRaw(header)
		if err != nil {
			return err
		}
		if _, err := m.Write(f.Content); err != nil {
			return err
		}
	}
	return z.Close()
}
