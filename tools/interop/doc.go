// Package interop runs the real clients - aktualizr, garage-push and
// garage-check as their own project builds them - against the built server. It
// has tests only, behind the build tag aktualizr: see make test-aktualizr.
package interop
