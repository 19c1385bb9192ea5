package uptane

import "time"

// Change is what the Director learnt about one device, for those who keep its
// history. Parts that did not change are nil or empty.
type Change struct {
	At           time.Time
	Registration *Registration // the complete new ECU set
	Installed    []ECUReport   // ECUs whose installed image is another than before
	Report       *InstallReport
	Status       string // the device's new update status
}
