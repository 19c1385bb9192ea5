//go:build !awskms

package main

import "sealift/internal/hsm"

// keyService is none: this tool links no cloud.
func keyService() hsm.Service { return nil }
