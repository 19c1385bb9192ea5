package uptane

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"sealift/uptane/canonical"
)

// Manifest is what a vehicle reports: an image for each ECU, signed by the ECU,
// all of it signed by the Primary.
type Manifest struct {
	Primary ECUSerial
	// Reports are in the order of serials. An unreachable ECU is missing or sends
	// its last report again.
	Reports []ECUReport
	// Unverified are ECUs whose report was left out because no key is known for
	// them.
	Unverified []ECUSerial
	Install    *InstallReport  // nil where nothing was installed
	Custom     json.RawMessage // any JSON, nil where there is none
	// Raw is the whole manifest in canonical form; equal manifests have equal bytes.
	Raw []byte

	signed part
	parts  map[ECUSerial]part
}

// part is what one ECU signed.
type part struct {
	message []byte
	sigs    []Signature
}

// ECUReport is what an ECU says about itself.
type ECUReport struct {
	Serial   ECUSerial
	Filepath string // the installed target, or a word like "unknown"
	SHA256   string // lower-case hex
	Length   int64
	// Counter grows with each manifest of a Primary; nil for others.
	Counter         *int64
	AttacksDetected string
	Custom          json.RawMessage // any JSON, nil where there is none
}

// InstallReport is the outcome of an update. Its JSON has the members the device
// sent, of which others are left out.
type InstallReport struct {
	CorrelationID string       `json:"correlation_id"` // of the Director targets, may be empty
	Result        Result       `json:"result"`
	Items         []ItemResult `json:"items"`
	RawReport     string       `json:"raw_report"`
}

// Result is the outcome on a device or an ECU. Success decides; Code is OK or any
// text.
type Result struct {
	Success     bool   `json:"success"`
	Code        string `json:"code"`
	Description string `json:"description"`
}

// ItemResult is the outcome on one ECU.
type ItemResult struct {
	ECU    ECUSerial `json:"ecu"`
	Result Result    `json:"result"`
}

// What a device may send at most: five hundred ECUs need 15 thousand values.
const (
	maxDeviceValues = 1 << 16
	// maxPartSignatures are the signatures of one ECU, each of which costs a
	// verification.
	maxPartSignatures = 4
)

// ParseManifest reads a manifest and verifies nothing. Errors wrap ErrMalformed
// or ErrSignature, in an ECUError where the part of one ECU is at fault.
func ParseManifest(raw []byte) (*Manifest, error) {
	v, err := canonical.Parse(raw, canonical.Options{MaxValues: maxDeviceValues})
	if err != nil {
		return nil, fmt.Errorf("reading manifest: %w: %w", ErrMalformed, err)
	}
	signed, sigs, err := envelopeOf(Uptane, v)
	if err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	m := &Manifest{Raw: v.Uptane(), signed: part{signed.Uptane(), sigs}, parts: map[ECUSerial]part{}}
	primary, _ := text(signed, "primary_ecu_serial")
	m.Primary = ECUSerial(primary)
	list, err := object(signed, "ecu_version_manifests")
	if err != nil || !m.Primary.Valid() {
		return nil, malformed("reading manifest without ecu_version_manifests or primary_ecu_serial")
	}
	for _, member := range list.Members() {
		serial := ECUSerial(member.Name)
		r, p, err := reportOf(serial, member.Value)
		if err != nil {
			return nil, &ECUError{serial, err}
		}
		m.Reports = append(m.Reports, r)
		m.parts[serial] = p
	}
	m.Custom = rawMember(signed, "custom")
	if report, ok := signed.Member("installation_report"); ok {
		if m.Install, err = installOf(report); err != nil {
			return nil, fmt.Errorf("reading installation report: %w", err)
		}
	}
	return m, nil
}

// VerifyManifest reads a manifest of the device whose Primary and ECU keys these
// are (Uptane, "Generate and send the vehicle version manifest"): the Primary
// signed the whole and reports itself, each ECU signed its own part, and names
// agree throughout. Key ids are advisory; a key is found by the ECU's serial. An
// ECU with the zero key is known but cannot be verified: its report is left out.
// Errors wrap ErrMalformed, ErrSignature or ErrECU, the last two in an ECUError
// where one ECU is at fault.
func VerifyManifest(raw []byte, primary ECUSerial, keys map[ECUSerial]Key) (*Manifest, error) {
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	if m.Primary != primary {
		return nil, &ECUError{m.Primary, fmt.Errorf("reports as Primary in place of %q: %w", primary, ErrECU)}
	}
	if err := m.signed.verify(keys[primary]); err != nil {
		return nil, &ECUError{primary, fmt.Errorf("signing the manifest: %w", err)}
	}
	if err := m.verifyParts(keys); err != nil {
		return nil, err
	}
	return m, nil
}

// verifyParts verifies what each ECU signed, and leaves out the reports of those
// that have no key.
func (m *Manifest) verifyParts(keys map[ECUSerial]Key) error {
	if _, ok := m.parts[m.Primary]; !ok {
		return &ECUError{m.Primary, fmt.Errorf("the Primary does not report itself: %w", ErrECU)}
	}
	reports := m.Reports
	m.Reports = nil
	for _, r := range reports {
		key, known := keys[r.Serial]
		if !known {
			return &ECUError{r.Serial, fmt.Errorf("not an ECU of this device: %w", ErrECU)}
		}
		if key.IsZero() {
			m.Unverified = append(m.Unverified, r.Serial)
			continue
		}
		if err := m.parts[r.Serial].verify(key); err != nil {
			return &ECUError{r.Serial, err}
		}
		m.Reports = append(m.Reports, r)
	}
	return nil
}

// verify demands that every signature is the key's own: there is no other party
// who could have added one.
func (p part) verify(k Key) error {
	if len(p.sigs) == 0 {
		return fmt.Errorf("no signature: %w", ErrSignature)
	}
	if len(p.sigs) > maxPartSignatures {
		return fmt.Errorf("%d signatures of one ECU: %w", len(p.sigs), ErrSignature)
	}
	for _, s := range p.sigs {
		if err := k.Verify(s.Method, p.message, s.Sig); err != nil {
			return err
		}
	}
	return nil
}

func reportOf(serial ECUSerial, v canonical.Value) (ECUReport, part, error) {
	r := ECUReport{Serial: serial}
	if !serial.Valid() {
		return r, part{}, malformed("serial is not 1 to 64 printable ASCII characters")
	}
	signed, sigs, err := envelopeOf(Uptane, v)
	if err != nil {
		return r, part{}, err
	}
	if inner, _ := text(signed, "ecu_serial"); ECUSerial(inner) != serial {
		return r, part{}, fmt.Errorf("report of another ECU %q: %w", inner, ErrECU)
	}
	image, err := object(signed, "installed_image")
	if err != nil {
		return r, part{}, err
	}
	var ok bool
	if r.Filepath, ok = text(image, "filepath"); !ok {
		return r, part{}, malformed("installed_image without filepath")
	}
	info, err := object(image, "fileinfo")
	if err == nil {
		r.Length, err = integer(info, "length")
	}
	if err != nil {
		return r, part{}, err
	}
	sums, err := hashes(info)
	if err != nil || r.Length < 0 {
		return r, part{}, errors.Join(malformed("fileinfo"), err)
	}
	r.SHA256 = hex.EncodeToString(sums["sha256"])
	r.AttacksDetected, _ = text(signed, "attacks_detected")
	r.Custom = rawMember(signed, "custom")
	if _, ok := signed.Member("report_counter"); ok {
		if r.Counter, err = counterOf(signed); err != nil {
			return r, part{}, err
		}
	}
	return r, part{signed.Uptane(), sigs}, nil
}

// counterOf reads the decimal string of clients; one spelling for each number.
func counterOf(v canonical.Value) (*int64, error) {
	s, _ := text(v, "report_counter")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return nil, malformed("report_counter %q is no decimal string", s)
	}
	return &n, nil
}

// installOf is lenient about what is missing: a report that is refused comes back
// for ever.
func installOf(v canonical.Value) (*InstallReport, error) {
	report, err := object(v, "report")
	if err != nil {
		return nil, err
	}
	r := &InstallReport{Result: resultOf(report)}
	r.CorrelationID, _ = text(report, "correlation_id")
	r.RawReport, _ = text(report, "raw_report")
	items, _ := report.Member("items")
	for _, item := range items.Items() {
		serial, _ := text(item, "ecu")
		r.Items = append(r.Items, ItemResult{ECU: ECUSerial(serial), Result: resultOf(item)})
	}
	return r, nil
}

func resultOf(v canonical.Value) Result {
	inner, _ := v.Member("result")
	success, _ := inner.Member("success")
	var r Result
	r.Success, _ = success.Flag()
	r.Code, _ = text(inner, "code")
	r.Description, _ = text(inner, "description")
	return r
}

func rawMember(v canonical.Value, name string) json.RawMessage {
	m, ok := v.Member(name)
	if !ok {
		return nil
	}
	return m.Uptane()
}
