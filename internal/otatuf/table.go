package otatuf

import (
	"fmt"
	"io"
	"strings"

	"sealift/uptane"
)

// Key is a row of the key server's table keys.
type Key struct {
	ID      uptane.KeyID
	Public  uptane.Key
	Private string // encrypted; "" where the key was taken offline
}

// maxKeys is more than a key server of one operator has.
const maxKeys = 10_000

// ReadKeys reads the rows of the table keys out of a dump. Errors wrap ErrDump.
func ReadKeys(r io.Reader) ([]Key, error) {
	var list []Key
	seen := map[uptane.KeyID]bool{}
	err := readDump(r, []string{"keys"}, func(_ string, r row) error {
		k := Key{ID: uptane.KeyID(r["key_id"]), Private: r["private_key"]}
		if !k.ID.Valid() {
			return fmt.Errorf("key_id %.80q is no key id: %w", k.ID, ErrDump)
		}
		if seen[k.ID] || len(list) >= maxKeys {
			return fmt.Errorf("key %s is there twice, or there are more than %d: %w", k.ID, maxKeys, ErrDump)
		}
		seen[k.ID] = true
		var err error
		if k.Public, err = publicOf(r); err != nil {
			return fmt.Errorf("public key of %s: %w: %w", k.ID, err, ErrDump)
		}
		if k.Public.ID() != k.ID {
			return fmt.Errorf("key_id %s is not the one of its public_key, %s: %w", k.ID, k.Public.ID(), ErrDump)
		}
		list = append(list, k)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("reading a dump: it has no rows of the table keys: %w", ErrDump)
	}
	return list, err
}

// publicOf reads public_key, which is a key object, or only its value where
// key_type says what it is.
func publicOf(r row) (uptane.Key, error) {
	text := strings.TrimSpace(r["public_key"])
	if !strings.HasPrefix(text, "{") {
		text = fmt.Sprintf(`{"keytype":%q,"keyval":{"public":%q}}`, r["key_type"], r["public_key"])
	}
	return uptane.ParseKey([]byte(text))
}

// ECU is a row of the Director's table ecus.
type ECU struct {
	Serial     string
	HardwareID string
	PublicKey  string // key object, JSON
}

// Device is what the Director knows of a device.
type Device struct {
	ID      string // as its certificate says
	Primary string // serial
	ECUs    []ECU
}

// maxECUs is that of one device.
const maxECUs = 500

// ReadDevices reads the tables ecus and provisioned_devices, which was called
// devices before, out of a dump, in the order in which devices come in it. Rows
// that are marked as deleted are left out. Errors wrap ErrDump.
func ReadDevices(r io.Reader) ([]Device, error) {
	t := devices{at: map[string]int{}, primary: map[string]string{}, gone: map[string]bool{}}
	err := readDump(r, []string{"ecus", "provisioned_devices", "devices"}, func(table string, r row) error {
		if table == "ecus" {
			return t.ecu(r)
		}
		return t.device(r)
	})
	if err != nil {
		return nil, err
	}
	var list []Device
	for _, d := range t.list {
		if t.gone[d.ID] {
			continue
		}
		if d.Primary = t.primary[d.ID]; d.Primary == "" {
			return nil, fmt.Errorf("reading a dump: device %.80q has ECUs and no row in provisioned_devices: %w", d.ID, ErrDump)
		}
		list = append(list, d)
	}
	return list, nil
}

type devices struct {
	list    []Device
	at      map[string]int // place in list
	primary map[string]string
	gone    map[string]bool
}

func (t *devices) ecu(r row) error {
	id := r["device_id"]
	if id == "" || r["ecu_serial"] == "" {
		return fmt.Errorf("a row of ecus without device_id or ecu_serial: %w", ErrDump)
	}
	if deleted(r) {
		return nil
	}
	i, known := t.at[id]
	if !known {
		i = len(t.list)
		t.at[id] = i
		t.list = append(t.list, Device{ID: id})
	}
	if len(t.list[i].ECUs) >= maxECUs {
		return fmt.Errorf("device %.80q has more than %d ECUs: %w", id, maxECUs, ErrDump)
	}
	t.list[i].ECUs = append(t.list[i].ECUs, ECU{Serial: r["ecu_serial"], HardwareID: r["hardware_identifier"], PublicKey: r["public_key"]})
	return nil
}

func (t *devices) device(r row) error {
	id := r["id"]
	if id == "" || r["primary_ecu_id"] == "" {
		return fmt.Errorf("a row of devices without id or primary_ecu_id: %w", ErrDump)
	}
	t.primary[id] = r["primary_ecu_id"]
	t.gone[id] = deleted(r)
	return nil
}

func deleted(r row) bool { return r["deleted"] != "" && r["deleted"] != "0" }
