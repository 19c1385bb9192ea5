package uptane

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane/canonical"
)

// The target formats that clients know.
const (
	FormatOSTree = "OSTREE"
	FormatBinary = "BINARY"
)

// Target is one image in targets metadata.
type Target struct {
	Filename string
	Length   int64 // bytes; 0 for OSTree
	Hashes   metadata.Hashes
	Custom   Custom
	// Delegated is the role that names it where that is not the top level. It is
	// no part of the entry.
	Delegated Role
	// Until is when the first of the metadata that lead to it end; zero where that
	// is not known. It is no part of the entry.
	Until time.Time
}

// TargetOf reads an entry of targets metadata. Errors wrap ErrMalformed.
func TargetOf(filename string, file *metadata.TargetFiles) (Target, error) {
	t := Target{Filename: filename}
	if file == nil {
		return t, malformed("reading target %q that is null", filename)
	}
	t.Length, t.Hashes = file.Length, file.Hashes
	if file.Custom != nil {
		if err := t.Custom.UnmarshalJSON(*file.Custom); err != nil {
			return t, fmt.Errorf("reading custom of target %q: %w", filename, err)
		}
	}
	return t, nil
}

// File writes the entry that TargetOf reads.
func (t Target) File() (*metadata.TargetFiles, error) {
	if err := CheckFilename(t.Filename); err != nil {
		return nil, err
	}
	b, err := t.Custom.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing custom of target %q: %w", t.Filename, err)
	}
	custom := json.RawMessage(b)
	return &metadata.TargetFiles{Path: t.Filename, Length: t.Length, Hashes: t.Hashes, Custom: &custom}, nil
}

// SHA256 is the target's hash in lower-case hex; of an OSTree target it is the
// commit.
func (t Target) SHA256() string { return hex.EncodeToString(t.Hashes["sha256"]) }

// IsOSTree tells as clients do: by the format, and without one by the length 0.
func (t Target) IsOSTree() bool {
	return t.Custom.TargetFormat == FormatOSTree || t.Custom.TargetFormat == "" && t.Length == 0
}

// CheckFilename refuses names that clients or URLs would alter or read as another
// path: empty or longer than 253 bytes, "..", empty or "." segments, a slash at
// either end, control characters, anything but ASCII. Errors wrap ErrName.
func CheckFilename(name string) error {
	ok := len(name) >= 1 && len(name) <= 253 && !strings.Contains(name, "..") && all(name, printable)
	for _, segment := range strings.Split(name, "/") {
		ok = ok && segment != "" && segment != "."
	}
	if !ok {
		return fmt.Errorf("checking target file name %q: %w: it is 1 to 253 printable ASCII characters, without empty or dotted segments", name, ErrName)
	}
	return nil
}

// HashedName is the name under which TUF clients ask for the bytes of a target:
// [DIR/]SHA256.NAME.
func HashedName(filename, sha256 string) string {
	dir, name := "", filename
	if i := strings.LastIndexByte(filename, '/'); i >= 0 {
		dir, name = filename[:i+1], filename[i+1:]
	}
	return dir + sha256 + "." + name
}

// ParseHashedName takes apart what HashedName wrote. Errors wrap ErrName.
func ParseHashedName(hashed string) (filename, sha256 string, err error) {
	dir, last := "", hashed
	if i := strings.LastIndexByte(hashed, '/'); i >= 0 {
		dir, last = hashed[:i+1], hashed[i+1:]
	}
	sha256, name, ok := strings.Cut(last, ".")
	if !ok || !lowerHex(sha256, 64) {
		return "", "", fmt.Errorf("reading hash in target file name %.400q: %w", hashed, ErrName)
	}
	if err := CheckFilename(dir + name); err != nil {
		return "", "", err
	}
	return dir + name, sha256, nil
}

// DirectorCustom is what Director targets say about the whole document.
type DirectorCustom struct {
	// CorrelationID comes back in the vehicle's report; without it failures are
	// never reported.
	CorrelationID string
	// VehicleID binds the document to its vehicle, empty documents too.
	VehicleID OEMID
}

// DirectorCustomOf reads the custom part of Director targets. A document without
// one gives the zero value.
func DirectorCustomOf(t *metadata.TargetsType) (DirectorCustom, error) {
	var d DirectorCustom
	if t.UnrecognizedFields["custom"] == nil {
		return d, nil
	}
	v, err := canonical.Of(t.UnrecognizedFields["custom"], canonical.Options{ASCII: true})
	if err != nil {
		return d, fmt.Errorf("reading custom of targets: %w: %w", ErrMalformed, err)
	}
	d.CorrelationID, _ = text(v, "correlationId")
	vehicle, _ := text(v, "vehicleId")
	d.VehicleID = OEMID(vehicle)
	return d, nil
}

// SetOn makes d the custom part of Director targets; empty members are left out.
func (d DirectorCustom) SetOn(t *metadata.TargetsType) {
	v := canonical.Fields()
	if d.CorrelationID != "" {
		v = v.With("correlationId", canonical.Text(d.CorrelationID))
	}
	if d.VehicleID != "" {
		v = v.With("vehicleId", canonical.Text(string(d.VehicleID)))
	}
	if t.UnrecognizedFields == nil {
		t.UnrecognizedFields = map[string]any{}
	}
	t.UnrecognizedFields["custom"] = json.RawMessage(v.Uptane())
}
