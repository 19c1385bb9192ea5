package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// runVerifyUploaded compares a local file with what the server has of it.
func runVerifyUploaded(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	sum, length, err := hashFile(c.get("input"))
	if err != nil {
		return err
	}
	if err := c.verifyUploaded(h, targetFilename(c), sum, length); err != nil {
		return err
	}
	c.say("The server has %s as it is here, sha256 %x", targetFilename(c), sum)
	return nil
}

func hashFile(path string) (sum []byte, length int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	hash := sha256.New()
	length, err = io.Copy(hash, f)
	return hash.Sum(nil), length, err
}

// verifyUploaded demands that the server has these bytes under that name: it
// reads them where the server gives uploads back, and asks for their hash
// elsewhere.
func (c *call) verifyUploaded(h *home.Home, name string, sum []byte, length int64) error {
	if err := uptane.CheckFilename(name); err != nil {
		return err
	}
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	hash := sha256.New()
	size, err := r.Download(c.ctx, "uploads/"+reposerver.EscapePath(name), hash)
	found := hash.Sum(nil)
	if withheld(err) {
		found, size, err = c.askUploaded(r, name)
	}
	if err != nil {
		return err
	}
	if size != length || !bytes.Equal(sum, found) {
		return explained("the server has %s with %d bytes and sha256 %x; the file here has %d and %x", name, size, found, length, sum)
	}
	return nil
}

// askUploaded asks a server that hashes what it gets, first among the targets,
// then among what no target names yet.
func (c *call) askUploaded(r *reposerver.Server, name string) ([]byte, int64, error) {
	a, err := r.Must(c.ctx, http.MethodGet, "target_items/"+reposerver.EscapePath(name), nil, nil)
	var item struct {
		Hashes map[string]string
		Length int64
		Stored bool
	}
	if err == nil && json.Unmarshal(a.Body, &item) == nil && item.Stored {
		sum, err := hex.DecodeString(item.Hashes["sha256"])
		return sum, item.Length, err
	}
	const page = 100
	for offset := 0; ; offset += page {
		a, err := r.Must(c.ctx, http.MethodGet, fmt.Sprintf("uploads?limit=%d&offset=%d", page, offset), nil, nil)
		if withheld(err) {
			return nil, 0, explained("the server does not give uploads back before they are targets: %w", err)
		}
		if err != nil {
			return nil, 0, err
		}
		var list struct {
			Values []struct {
				Filename, SHA256 string
				Length           int64
			}
		}
		if err := json.Unmarshal(a.Body, &list); err != nil {
			return nil, 0, fmt.Errorf("reading the list of uploads: %w", err)
		}
		for _, u := range list.Values {
			if u.Filename == name {
				sum, err := hex.DecodeString(u.SHA256)
				return sum, u.Length, err
			}
		}
		if len(list.Values) < page {
			return nil, 0, explained("the server has no upload %s; `targets upload` sends it", name)
		}
	}
}

// runCleanOSTree asks the server to drop commits that no target names.
func runCleanOSTree(c *call) error {
	_, r, err := c.connect()
	if err != nil {
		return err
	}
	_, err = r.Must(c.ctx, http.MethodDelete, "ostree", nil, nil)
	if withheld(err) {
		return explained("%w\nThis server deletes no OSTree objects on demand of those who sign", err)
	}
	if err != nil {
		return err
	}
	c.say("The server drops OSTree objects that no target needs")
	return nil
}
