package uptane

import (
	"fmt"

	"sealift/uptane/canonical"
)

// ECU is one computer of a device. Its key is zero where the Primary could not
// read it; reports of such an ECU cannot be verified.
type ECU struct {
	Serial     ECUSerial
	HardwareID HardwareID
	Key        Key
}

// Registration is the complete set of ECUs that a device sends.
type Registration struct {
	Primary ECUSerial
	ECUs    []ECU // as sent, the Primary among them
}

// ParseRegistration reads the body of an ECU registration. Serials and hardware
// ids are valid, serials are unique, the Primary is listed and has a key. Errors
// wrap ErrMalformed, ErrECU or ErrKey, in an ECUError where one ECU is at fault.
func ParseRegistration(raw []byte) (Registration, error) {
	var r Registration
	v, err := canonical.Parse(raw, canonical.Options{MaxValues: maxDeviceValues})
	if err != nil {
		return r, fmt.Errorf("reading ECU registration: %w: %w", ErrMalformed, err)
	}
	primary, _ := text(v, "primary_ecu_serial")
	r.Primary = ECUSerial(primary)
	list, _ := v.Member("ecus")
	if list.Kind() != canonical.Array || !r.Primary.Valid() {
		return r, malformed("reading ECU registration without ecus or primary_ecu_serial")
	}
	seen := map[ECUSerial]bool{}
	for _, item := range list.Items() {
		e, err := ecuOf(item)
		if err != nil {
			return r, &ECUError{e.Serial, err}
		}
		if seen[e.Serial] {
			return r, &ECUError{e.Serial, fmt.Errorf("registered twice: %w", ErrECU)}
		}
		if e.Serial == r.Primary && e.Key.IsZero() {
			return r, &ECUError{e.Serial, fmt.Errorf("a Primary needs a key: %w", ErrKey)}
		}
		seen[e.Serial] = true
		r.ECUs = append(r.ECUs, e)
	}
	if !seen[r.Primary] {
		return r, &ECUError{r.Primary, fmt.Errorf("the Primary is not among the ECUs: %w", ErrECU)}
	}
	return r, nil
}

func ecuOf(v canonical.Value) (ECU, error) {
	serial, _ := text(v, "ecu_serial")
	id, _ := text(v, "hardware_identifier")
	e := ECU{Serial: ECUSerial(serial), HardwareID: HardwareID(id)}
	if !e.Serial.Valid() || !e.HardwareID.Valid() {
		return e, malformed("serial of 1 to 64 or hardware_identifier of 1 to 200 printable ASCII characters is missing")
	}
	key, _ := v.Member("clientKey")
	keytype, public, err := keyTexts(key)
	if err == nil && !(keytype == "unknown" && public == "") {
		e.Key, err = keyOf(key)
	}
	return e, err
}
