package uptane

// Namespace separates the repositories and devices of one customer from all
// others: 1 to 63 of [a-z0-9._-], beginning with a letter or digit.
type Namespace string

// DeviceID is the server's own name of a device, a UUIDv7.
type DeviceID string

// OEMID is the device's name of itself: the common name of its certificate and
// the deviceId of its provisioning request.
type OEMID string

// ECUSerial names an ECU within its device.
type ECUSerial string

// HardwareID names a kind of ECU: what an image must list to be installed on it.
type HardwareID string

// KeyID is the name of a key within a document, in lower-case hex.
type KeyID string

// Valid reports whether n may be used as a namespace.
func (n Namespace) Valid() bool {
	if len(n) == 0 || len(n) > 63 || !alphanumeric(n[0]) {
		return false
	}
	return all(string(n), func(c byte) bool { return alphanumeric(c) || c == '.' || c == '_' || c == '-' })
}

// Valid reports whether o is 1 to 64 of [A-Za-z0-9._:-].
func (o OEMID) Valid() bool {
	return len(o) >= 1 && len(o) <= 64 && all(string(o), func(c byte) bool {
		return letter(c) || c >= '0' && c <= '9' || c == '.' || c == '_' || c == ':' || c == '-'
	})
}

// Valid reports whether s is 1 to 64 printable ASCII characters: it becomes part
// of signed metadata, which is ASCII.
func (s ECUSerial) Valid() bool { return len(s) >= 1 && len(s) <= 64 && all(string(s), printable) }

// Valid reports whether h is 1 to 200 printable ASCII characters.
func (h HardwareID) Valid() bool { return len(h) >= 1 && len(h) <= 200 && all(string(h), printable) }

// Valid reports whether k is 64 lower-case hex digits, as every id made here is.
// Documents of other makers may use other ids.
func (k KeyID) Valid() bool { return lowerHex(string(k), 64) }

func lowerHex(s string, n int) bool {
	return len(s) == n && all(s, func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' })
}

func all(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func letter(c byte) bool       { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func printable(c byte) bool    { return c >= 0x20 && c < 0x7f }
