package api

import "sealift/keys"

// CustodyFindings are what is said of keys, "level code" each.
func CustodyFindings(held []keys.Held) (said []string) {
	for _, f := range ofCustody(held) {
		said = append(said, string(f.Level)+" "+f.Code)
	}
	return said
}
