//go:build race

package main

// builds push at once; fewer than elsewhere, for the race detector makes
// signing slow and each collision signs again.
const builds = 12
