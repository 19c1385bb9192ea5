package uptane_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// A supplier may name very many keys. Reading them costs what they are long, not
// the square of that, which kept the server busy for minutes.
func TestVeryManyKeys(t *testing.T) {
	const many = 4000
	keys, ids := map[string]json.RawMessage{}, []string{}
	for i := range many {
		seed := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint32(seed, uint32(i))
		k, err := uptane.NewKey(ed25519.NewKeyFromSeed(seed).Public())
		if err != nil {
			t.Fatal(err)
		}
		keys[string(k.ID())], ids = k.Wire(uptane.Uptane), append(ids, string(k.ID()))
	}
	signed, err := json.Marshal(map[string]any{"delegations": map[string]any{"keys": keys,
		"roles": []any{map[string]any{"name": "brakes", "keyids": ids, "threshold": 1, "terminating": false, "paths": []string{"brakes/*"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	list, err := uptane.Delegations(uptane.Uptane, signed)
	runtime.ReadMemStats(&after)
	if err != nil || len(list) != 1 || len(list[0].Ring.Keys) != many {
		t.Fatalf("%d roles, %v", len(list), err)
	}
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 256 {
		t.Errorf("%d MiB for %d KiB", used, len(signed)>>10)
	}
	members := make([]canonical.Member, many)
	for i := range members {
		members[i] = canonical.Member{Name: fmt.Sprint(i % (many / 2)), Value: canonical.Int(int64(i))}
	}
	v := canonical.Fields(members...)
	if last, _ := v.Member("7"); len(v.Members()) != many/2 || string(last.Uptane()) != fmt.Sprint(many/2+7) {
		t.Errorf("%d members, %s: a name given twice keeps its last value", len(v.Members()), last.Uptane())
	}
}
