// Package fsck is the account of a check of everything that is stored: how much
// was looked at, what is damaged, and what is merely left over. Each service
// verifies what is its own and writes into one [Account].
//
// Damage is a row whose bytes are gone or wrong, a signed document that does
// not verify, a table that contradicts itself. A blob that no row names is a
// left-over of a crash or of an upload that was given up: it costs room and
// nothing else.
package fsck

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"sealift/uptane"
)

// Damage is one thing that is not as it must be.
type Damage struct {
	Namespace uptane.Namespace // empty: of the server as a whole
	What      string           // "object 39f6..0526.filez", "root 3 of the image repository"
	Problem   string           // in words
}

// String is one line for people.
func (d Damage) String() string {
	if d.Namespace == "" {
		return d.What + ": " + d.Problem
	}
	return fmt.Sprintf("namespace %s, %s: %s", d.Namespace, d.What, d.Problem)
}

// Count is how many of a kind were looked at.
type Count struct {
	Kind string // plural: "objects"
	N    int64
}

// Account gathers what a check finds. Safe for concurrent use.
type Account struct {
	telling sync.Mutex
	tell    func(Damage)

	mu      sync.Mutex
	looked  map[string]int64
	bytes   int64 // of blobs that were read
	damaged int64
	left    int64 // blobs that no row names
	leftLen int64 // their bytes
}

// New returns an empty account that hands each damage to tell, one at a time.
// Nil tells nobody.
func New(tell func(Damage)) *Account { return &Account{tell: tell, looked: map[string]int64{}} }

// Looked notes that n of a kind were verified, whatever came out.
func (a *Account) Looked(kind string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked[kind] += int64(n)
}

// Read notes bytes of blobs that were read.
func (a *Account) Read(bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes += bytes
}

// Damaged notes a damage.
func (a *Account) Damaged(ns uptane.Namespace, what, format string, args ...any) {
	a.mu.Lock()
	a.damaged++
	a.mu.Unlock()
	if a.tell == nil {
		return
	}
	a.telling.Lock()
	defer a.telling.Unlock()
	a.tell(Damage{ns, what, fmt.Sprintf(format, args...)})
}

// LeftOver notes a blob of that many bytes that no row names.
func (a *Account) LeftOver(bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left++
	a.leftLen += bytes
}

// Result is what an account has come to.
type Result struct {
	Looked         []Count // by kind
	Bytes          int64   // of blobs that were read
	Damaged        int64
	LeftOver       int64
	LeftOverLength int64 // bytes of left-overs
}

// Result returns the account as it stands.
func (a *Account) Result() Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := Result{Bytes: a.bytes, Damaged: a.damaged, LeftOver: a.left, LeftOverLength: a.leftLen}
	for _, kind := range slices.Sorted(maps.Keys(a.looked)) {
		r.Looked = append(r.Looked, Count{kind, a.looked[kind]})
	}
	return r
}
