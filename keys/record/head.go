package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// maxHeads bounds what ParseHeads reads: some days of them, one a second.
const maxHeads = 64 << 20

// headText is a head as it is told: {"at":"...","head":HEX,"size":N}. In the
// custom of a timestamp.json it has no time, which is that document's.
type headText struct {
	At   *time.Time `json:"at,omitempty"`
	Head string     `json:"head"`
	Size int64      `json:"size"`
}

// Custom is what a timestamp.json says of the record, under the name record.
func (h Head) Custom() map[string]any {
	return map[string]any{"record": map[string]any{"head": hex.EncodeToString(h.Hash[:]), "size": h.Size}}
}

// MarshalJSON writes one head; see ParseHeads.
func (h Head) MarshalJSON() ([]byte, error) {
	return json.Marshal(headText{At: &h.At, Head: hex.EncodeToString(h.Hash[:]), Size: h.Size})
}

// ParseHeads reads heads as they were told: JSON objects one after the other,
// each a head or a timestamp.json. Other objects are passed over, so that a
// log can be given as it is; a line that is no JSON object ends nothing. More than
// it reads is an error: the newest heads are the last, and count most.
func ParseHeads(r io.Reader) ([]Head, error) {
	var heads []Head
	limited := &io.LimitedReader{R: r, N: maxHeads + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if at := bytes.IndexByte(line, '{'); at >= 0 {
			line = line[at:]
		}
		var d struct {
			headText
			Signed struct {
				Custom struct {
					Record headText `json:"record"`
				} `json:"custom"`
			} `json:"signed"`
		}
		if json.Unmarshal(line, &d) != nil {
			continue
		}
		text := d.headText
		if text.Head == "" {
			text = d.Signed.Custom.Record
		}
		if text.Head == "" {
			continue
		}
		hash, err := hex.DecodeString(text.Head)
		if err != nil || len(hash) != tlog.HashSize || text.Size < 1 {
			return nil, fmt.Errorf("reading head of %d batches: %q is no SHA-256 in hex", text.Size, text.Head)
		}
		h := Head{Size: text.Size, Hash: Hash(hash)}
		if text.At != nil {
			h.At = *text.At
		}
		heads = append(heads, h)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading heads: %w", err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("reading heads: more than %d bytes; give the last lines alone, they cover what came before", maxHeads)
	}
	return heads, nil
}
