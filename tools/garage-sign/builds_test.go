//go:build !race

package main

// builds push at once.
const builds = 50
