//go:build !race

package main

// Does more without: TestManyPushesAtOnce.

// builds push at once.
const builds = 50
