// Package drill takes the built server through accidents while devices poll and
// builds push: kill -9 at random moments, a full disk, a database, a bucket and a
// replica that go away, a clock that is wrong. Nothing that was acknowledged may
// be lost, what is impossible is said to be, the very same requests succeed
// afterwards, and everything that is stored must verify. It has tests only.
//
// Lines of the log that begin with "drill:" tell what happened; the gate counts
// the kills in them.
package drill
