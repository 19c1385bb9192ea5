// Package drill takes the built server through accidents while devices poll and
// builds push: kill -9 at random moments, a full disk, a database and a bucket
// that go away. Nothing that was acknowledged may be lost, and afterwards
// everything that is stored must verify. It has tests only.
package drill
