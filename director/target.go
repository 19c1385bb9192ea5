package director

import (
	"encoding/json"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// encodeTarget writes an entry of the Image repository as it is stored.
func encodeTarget(t uptane.Target) (string, error) {
	file, err := t.File()
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(file)
	return string(raw), err
}

// decodeTarget reads what encodeTarget wrote.
func decodeTarget(filename, raw string) (uptane.Target, error) {
	var file metadata.TargetFiles
	if err := json.Unmarshal([]byte(raw), &file); err != nil {
		return uptane.Target{}, fmt.Errorf("reading stored target %q: %w", filename, err)
	}
	return uptane.TargetOf(filename, &file)
}

func imageOf(t uptane.Target) Image {
	return Image{Filename: t.Filename, SHA256: t.SHA256(), Length: t.Length}
}

// storedImage is imageOf of a stored target.
func storedImage(filename, raw string) (Image, error) {
	t, err := decodeTarget(filename, raw)
	return imageOf(t), err
}
