package uptane

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sealift/uptane/canonical"
)

// Custom is the custom part of a target. An entry of the Image repository lists
// hardware ids, one of the Director the ECUs that are to install it; clients
// match no entry that has both.
type Custom struct {
	Name         string
	Version      string
	HardwareIDs  []HardwareID
	ECUs         map[ECUSerial]HardwareID // Director entries only
	TargetFormat string                   // FormatOSTree, FormatBinary or empty
	URI          string                   // where to download it, empty for the usual place
	CreatedAt    time.Time
	UpdatedAt    time.Time
	CLIUploaded  *bool // nil where it is not said
	// ReleaseCounter grows over the images of one hardware id, so that an ECU can
	// refuse an older one; 0 is none.
	ReleaseCounter int64
	// Extra holds all other members as they came.
	Extra map[string]json.RawMessage
}

// MarshalJSON writes the canonical form. Format and URI are always there, null
// where empty, as other tools of this family demand.
func (c Custom) MarshalJSON() ([]byte, error) {
	if c.ECUs != nil && c.HardwareIDs != nil {
		return nil, malformed("writing both hardware ids and ECUs of a target")
	}
	v := canonical.Fields()
	for name, raw := range c.Extra {
		x, err := canonical.Parse(raw, canonical.Options{ASCII: true})
		if err != nil {
			return nil, fmt.Errorf("writing member %q: %w: %w", name, ErrMalformed, err)
		}
		v = v.With(name, x)
	}
	v = v.With("targetFormat", textOrNull(c.TargetFormat)).With("uri", textOrNull(c.URI))
	for name, s := range map[string]string{"name": c.Name, "version": c.Version,
		"createdAt": moment(c.CreatedAt), "updatedAt": moment(c.UpdatedAt)} {
		if s != "" {
			v = v.With(name, canonical.Text(s))
		}
	}
	if c.HardwareIDs != nil {
		ids := make([]canonical.Value, len(c.HardwareIDs))
		for i, id := range c.HardwareIDs {
			ids[i] = canonical.Text(string(id))
		}
		v = v.With("hardwareIds", canonical.List(ids...))
	}
	if c.ECUs != nil {
		ecus := canonical.Fields()
		for serial, id := range c.ECUs {
			ecus = ecus.With(string(serial), canonical.Fields(canonical.Member{Name: "hardwareId", Value: canonical.Text(string(id))}))
		}
		v = v.With("ecuIdentifiers", ecus)
	}
	if c.CLIUploaded != nil {
		v = v.With("cliUploaded", canonical.Flag(*c.CLIUploaded))
	}
	if c.ReleaseCounter != 0 {
		v = v.With("releaseCounter", canonical.Int(c.ReleaseCounter))
	}
	return v.Uptane(), nil
}

// UnmarshalJSON reads what MarshalJSON or another tool wrote: a version may be an
// integer, times may be any RFC 3339. Errors wrap ErrMalformed.
func (c *Custom) UnmarshalJSON(raw []byte) error {
	v, err := canonical.Parse(raw, canonical.Options{ASCII: true})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if v.Kind() != canonical.Object && v.Kind() != canonical.Null {
		return malformed("custom is no object")
	}
	*c = Custom{}
	for _, m := range v.Members() {
		if !c.read(m.Name, m.Value) {
			return malformed("member %s is of the wrong form", m.Name)
		}
	}
	return nil
}

// customMembers are those that have a meaning.
var customMembers = []string{"name", "version", "targetFormat", "uri", "createdAt", "updatedAt", "cliUploaded", "releaseCounter", "hardwareIds", "ecuIdentifiers"}

// read takes one member in and tells whether it has the right form.
func (c *Custom) read(name string, v canonical.Value) bool {
	switch name {
	case "name":
		return readText(v, &c.Name)
	case "version":
		if n, ok := v.Int(); ok {
			c.Version = strconv.FormatInt(n, 10)
			return true
		}
		return readText(v, &c.Version)
	case "targetFormat":
		return readText(v, &c.TargetFormat)
	case "uri":
		return readText(v, &c.URI)
	case "createdAt":
		return readMoment(v, &c.CreatedAt)
	case "updatedAt":
		return readMoment(v, &c.UpdatedAt)
	case "cliUploaded":
		b, ok := v.Flag()
		c.CLIUploaded = &b
		return ok
	case "releaseCounter":
		var ok bool
		c.ReleaseCounter, ok = v.Int()
		return ok && c.ReleaseCounter >= 0
	case "hardwareIds":
		return c.readHardwareIDs(v)
	case "ecuIdentifiers":
		return c.readECUs(v)
	}
	for _, known := range customMembers { // written beside one of these it could not be read again
		if strings.EqualFold(name, known) {
			return false
		}
	}
	if c.Extra == nil {
		c.Extra = map[string]json.RawMessage{}
	}
	c.Extra[name] = v.Uptane()
	return true
}

func (c *Custom) readHardwareIDs(v canonical.Value) bool {
	c.HardwareIDs = []HardwareID{}
	for _, item := range v.Items() {
		s, ok := item.Text()
		if !ok || !HardwareID(s).Valid() {
			return false
		}
		c.HardwareIDs = append(c.HardwareIDs, HardwareID(s))
	}
	return v.Kind() == canonical.Array
}

func (c *Custom) readECUs(v canonical.Value) bool {
	c.ECUs = map[ECUSerial]HardwareID{}
	for _, m := range v.Members() {
		id, ok := text(m.Value, "hardwareId")
		if !ok || !ECUSerial(m.Name).Valid() || !HardwareID(id).Valid() {
			return false
		}
		c.ECUs[ECUSerial(m.Name)] = HardwareID(id)
	}
	return v.Kind() == canonical.Object
}

// readText accepts null as the empty string.
func readText(v canonical.Value, to *string) bool {
	s, ok := v.Text()
	*to = s
	return ok || v.Kind() == canonical.Null
}

func readMoment(v canonical.Value, to *time.Time) bool {
	s, ok := v.Text()
	if !ok {
		return v.Kind() == canonical.Null
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	*to = t.UTC()
	return err == nil
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

func textOrNull(s string) canonical.Value {
	if s == "" {
		return canonical.Value{}
	}
	return canonical.Text(s)
}
