// Package ostree reads, verifies, writes and copies OSTree objects as they lie
// in an archive repository, in pure Go and without libostree.
//
// Objects are addressed by [ObjectName]. [VerifyReader] and [Verifier] accept
// an object only if its bytes are exactly what its name promises; they are
// stricter than libostree, which accepts files that break devices later. [Dir]
// is an archive repository in a local folder: it is read, written from an
// fs.FS with [Dir.Commit], and serves as [Source] and [Sink] of [Copy].
//
// Bytes that break a rule of the format are reported as *[RuleError]; whatever
// else goes wrong (a disk, a network) is returned as the error it was. Objects
// that do not exist are [ErrNotFound].
//
// All functions and all methods of Dir may be called at once from several
// goroutines; a Verifier belongs to one goroutine.
package ostree
