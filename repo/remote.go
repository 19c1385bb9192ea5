package repo

import (
	"time"
)

// Remote is where metadata of a delegated role come from.
type Remote struct {
	URI          string    // "" they are pushed
	FriendlyName string    // what people call the role
	FetchedAt    time.Time // zero never
}
