// Package interop runs the real clients - aktualizr, aktualizr-cert-provider,
// garage-push and garage-check as their own project builds them - against the
// server. It has tests only, behind the build tag aktualizr: see make
// test-aktualizr, which prints a row for each scenario of the device test plan.
//
// Where nobody lies, the server is the built program. Where somebody does, its
// data are opened in the test's process and its gateway stands behind
// fixtures/fault, with all keys at hand, online and offline: what the client
// refuses is then otherwise good.
//
// What it shows of the client, for those who read its reports:
//
//   - It is silent about metadata that it refuses: no report, only a second
//     manifest in the same cycle. Where the repositories disagree, or a delegation
//     has ended, it reports VERIFICATION_FAILED, if there is a correlation id.
//   - Director targets with a version that it has and other content make it try for
//     ever and say nothing. A Director must raise the version with every change.
//   - It does not notice that a newer root is withheld.
//   - A server that never answers costs it 184 s: three attempts of 60 s, a second
//     between them. An image below 5,000 B/s as well, resumed twice.
//   - The body of a refused download stays in its file and spoils the next attempt.
//   - It shows its certificate to whatever server an image lies on, and follows ten
//     redirects.
//   - It sends events again for ever unless they are taken, or refused with 404; a
//     single event that is refused with 413 is lost.
//   - It does not look below a delegation that is terminating; the standard would.
//   - A full-verification Secondary knows the top level alone: one delegated image
//     for the Primary, and nothing is installed anywhere.
//   - It takes an older snapshot with its targets under a newer timestamp where the
//     snapshot has a hash of the targets. So ours have only their version.
//   - A root of more than 64 KiB is to it one that is not there; a root that is not
//     validly signed, or not the next, ends every cycle until there is a right one.
//   - A new Secondary begins with the first root: whatever a Primary has not stored
//     it asks the server for.
//   - A role of a root that it does not know it calls invalid in its log, each time it
//     reads the root, and ignores.
//   - Versions may leap: what another server counted from 1 goes on in the millions.
//   - PKCS #12 with PBMAC1 it cannot read, and says only "Could not parse file".
package interop
