package diskblob

import (
	"time"

	"gocloud.dev/blob/driver"
)

// OpenDriver is Open for the conformance suite, which wants the driver.
func OpenDriver(dir string) (driver.Bucket, error) { return open(dir) }

// Sweep is what Open does to temporary files last written before a time.
func Sweep(b driver.Bucket, before time.Time) error { return b.(*bucket).sweep(before) }

// Encode and DecodeSegment are how keys become names.
func Encode(key string) string                              { return encode(key) }
func DecodeSegment(name string) (key string, ok bool)       { return decodeSegment(name) }
func NewSyncer(fsync func(string) error) func(string) error { return (&syncer{fsync: fsync}).do }
