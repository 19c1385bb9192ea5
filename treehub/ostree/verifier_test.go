package ostree_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sealift/treehub/ostree"
)

func TestVerifierAgreesWithVerifyReader(t *testing.T) {
	d := newRepo(t)
	mustCommit(t, d, someTree(), ostree.CommitOptions{Ref: "main"})
	for name, data := range objects(t, d.Path()) {
		want, err := ostree.VerifyReader(name, -1, bytes.NewReader(data))
		check(t, err)
		v := ostree.NewVerifier(name, int64(len(data)))
		for chunk := range chunks(data, 1000) {
			_, err := v.Write(chunk)
			check(t, err)
		}
		got, err := v.Close()
		if err != nil || got.Name != want.Name || got.Size != want.Size || len(got.Edges) != len(want.Edges) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
		if again, err := v.Close(); err != nil || again.Size != got.Size {
			t.Errorf("%s: second verdict %+v, %v", name, again, err)
		}
	}
}

func chunks(data []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 && yield(data[:min(n, len(data))]) {
			data = data[min(n, len(data)):]
		}
	}
}

func TestVerifierStopsAtTheFirstBrokenRule(t *testing.T) {
	name, head, _ := aFile(t, &fstest.MapFile{Mode: 0o644, Data: []byte("content")})
	v := ostree.NewVerifier(name, -1)
	_, err := v.Write(frame(head.Encode(), bytes.Repeat([]byte{0xff}, 1<<20)...))
	if ruleOf(t, err) != "filez_deflate" {
		t.Errorf("writing: %v", err)
	}
	if _, err := v.Close(); ruleOf(t, err) != "filez_deflate" {
		t.Errorf("closing: %v", err)
	}
	v = ostree.NewVerifier(name, -1)
	if _, err := v.Close(); ruleOf(t, err) != "filez_truncated" {
		t.Errorf("closing with nothing written: %v", err)
	}
}

// An owner that gives up, even one that forgets Close, leaves no goroutine.
func TestAbandonedVerifierEnds(t *testing.T) {
	name, head, _ := aFile(t, &fstest.MapFile{Mode: 0o644, Data: []byte("content")})
	for range 10 {
		v := ostree.NewVerifier(name, -1)
		_, err := v.Write(frame(head.Encode())[:20])
		check(t, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		runtime.GC()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left := strings.Count(string(stacks), "ostree.VerifyReader")
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d verifications still run", left)
		}
	}
}
