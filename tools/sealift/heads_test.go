package main

import (
	"errors"
	"testing"

	"gocloud.dev/blob/memblob"

	"sealift/keys/record"
)

// A bucket keeps the first head of each size: the same from another replica is
// well, another one is told.
func TestABucketKeepsTheFirstHead(t *testing.T) {
	b := memblob.OpenBucket(nil)
	defer b.Close()
	keep, head := keepIn(b), record.Head{Size: 7}
	for range 2 {
		if err := keep(t.Context(), head, []byte("a head")); err != nil {
			t.Fatal(err)
		}
	}
	if err := keep(t.Context(), head, []byte("another head")); !errors.Is(err, errOtherHead) {
		t.Errorf("another head of that size: %v", err)
	}
	if kept, err := b.ReadAll(t.Context(), "000000000007.json"); err != nil || string(kept) != "a head" {
		t.Errorf("kept: %q, %v", kept, err)
	}
}
