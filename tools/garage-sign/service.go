//go:build awskms

package main

import (
	"sealift/internal/hsm"
	"sealift/internal/kms"
)

// keyService has the keys of awskms: URIs.
func keyService() hsm.Service { return kms.New(kms.Config{}) }
