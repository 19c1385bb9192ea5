package diskblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"sealift/internal/diskblob"
)

func open(t *testing.T, dir string) *blob.Bucket {
	t.Helper()
	b, err := diskblob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func write(t *testing.T, b *blob.Bucket, key, content string) {
	t.Helper()
	if err := b.WriteAll(t.Context(), key, []byte(content), nil); err != nil {
		t.Fatalf("writing %q: %v", key, err)
	}
}

// filesIn lists every file below dir, whatever it is.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestObjectsOutliveTheBucket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	first := open(t, dir)
	write(t, first, "default/aa/bb.filez", "hello")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	got, err := b.ReadAll(t.Context(), "default/aa/bb.filez")
	if err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, "default/aa/bb.filez"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestAttributes(t *testing.T) {
	b := open(t, t.TempDir())
	ctx := t.Context()
	write(t, b, "dir/a", "hello")
	a, err := b.Attributes(ctx, "dir/a")
	if err != nil || a.Size != 5 || a.ModTime.IsZero() || !strings.HasPrefix(a.ETag, `"`) || a.ContentType == "" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, key := range []string{"nothing", "dir", "dir/", "dir/a/b"} {
		if _, err := b.Attributes(ctx, key); gcerrors.Code(err) != gcerrors.NotFound {
			t.Errorf("attributes of %q: %v", key, err)
		}
		if _, err := b.ReadAll(ctx, key); gcerrors.Code(err) != gcerrors.NotFound {
			t.Errorf("content of %q: %v", key, err)
		}
		if err := b.Delete(ctx, key); gcerrors.Code(err) != gcerrors.NotFound {
			t.Errorf("deleting %q: %v", key, err)
		}
	}
}

func TestOneOfManyWritersWins(t *testing.T) {
	const rounds, writers = 50, 8
	dir := t.TempDir()
	b := open(t, dir)
	for round := range rounds {
		key := fmt.Sprintf("race/%d", round)
		var mu sync.Mutex
		var winners []string
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				content := fmt.Sprint(w)
				err := b.WriteAll(t.Context(), key, []byte(content), &blob.WriterOptions{IfNotExist: true})
				if err == nil {
					mu.Lock()
					winners = append(winners, content)
					mu.Unlock()
				} else if gcerrors.Code(err) != gcerrors.FailedPrecondition {
					t.Errorf("losing: %v", err)
				}
			})
		}
		wg.Wait()
		got, err := b.ReadAll(t.Context(), key)
		if err != nil || len(winners) != 1 || winners[0] != string(got) {
			t.Fatalf("winners %q, content %q, %v", winners, got, err)
		}
	}
	if n := len(filesIn(t, dir)); n != rounds {
		t.Errorf("%d files for %d objects", n, rounds)
	}
}

func TestCancelledWriterLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.NewWriter(ctx, "a/b", &blob.WriterOptions{ContentType: "x/y"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if len(filesIn(t, dir)) != 1 {
		t.Error("nothing was being written: the test proves nothing")
	}
	cancel()
	if err := w.Close(); gcerrors.Code(err) != gcerrors.Canceled {
		t.Errorf("Close = %v", err)
	}
	if files := filesIn(t, dir); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
}

func TestReadersKeepWhatTheyOpened(t *testing.T) {
	b := open(t, t.TempDir())
	write(t, b, "a", "old content")
	r, err := b.NewReader(t.Context(), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := b.Copy(t.Context(), "b", "a", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Copy(t.Context(), "b", "a", nil); err != nil {
		t.Fatal("copying onto a copy: ", err)
	}
	write(t, b, "a", "new")
	if got, err := io.ReadAll(r); err != nil || string(got) != "old content" {
		t.Errorf("reader: %q, %v", got, err)
	}
	if got, err := b.ReadAll(t.Context(), "b"); err != nil || string(got) != "old content" {
		t.Errorf("a copy changed with its source: %q, %v", got, err)
	}
	var f *os.File
	whole, err := b.NewReader(t.Context(), "a", nil)
	if err != nil || !whole.As(&f) || f == nil {
		t.Errorf("a reader of the whole gives no file: %v", err)
	}
	_ = whole.Close()
	part, err := b.NewRangeReader(t.Context(), "a", 1, 1, nil)
	if err != nil || part.As(&f) {
		t.Errorf("a reader of a part gives the whole file: %v", err)
	}
	_ = part.Close()
}

func TestKeysStayInside(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "bucket")
	b := open(t, dir)
	ctx := t.Context()
	keys := []string{"../a", "/a", "a/../../b", "x/..", "y/.", "./a", ".tmp/a", ".hidden", "a//b", "z/", "%2E", "%", "c\x00d", "e\nf"}
	for _, key := range keys {
		write(t, b, key, key)
	}
	for _, key := range keys {
		if got, err := b.ReadAll(ctx, key); err != nil || string(got) != key {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	if outside, err := os.ReadDir(parent); err != nil || len(outside) != 1 {
		t.Errorf("beside the folder: %v, %v", outside, err)
	}
	var listed []string
	for it := b.List(nil); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, o.Key)
	}
	slices.Sort(keys)
	if !slices.Equal(listed, keys) {
		t.Errorf("listed %q, want %q", listed, keys)
	}

	if err := os.WriteFile(filepath.Join(parent, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "../secret", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"link", "up/secret"} {
		if got, err := b.ReadAll(ctx, key); err == nil {
			t.Errorf("%s leads outside: %q", key, got)
		}
	}
	if err := b.WriteAll(ctx, "up/new", []byte("x"), nil); err == nil {
		t.Error("a symbolic link leads a writer outside")
	}
}

func TestKeysThatExcludeEachOther(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	write(t, b, "a", "1")
	write(t, b, "c/d", "2")
	for _, key := range []string{"a/b", "a/b/c", "c"} {
		for _, isNew := range []bool{true, false} {
			err := b.WriteAll(t.Context(), key, nil, &blob.WriterOptions{IfNotExist: isNew})
			if gcerrors.Code(err) != gcerrors.FailedPrecondition {
				t.Errorf("writing %s: %v", key, err)
			}
		}
	}
	if err := b.WriteAll(t.Context(), strings.Repeat("x", 300), nil, nil); gcerrors.Code(err) != gcerrors.InvalidArgument {
		t.Errorf("a name too long: %v", err)
	}
	if files := filesIn(t, dir); len(files) != 2 {
		t.Errorf("files %q", files)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	drv, err := diskblob.OpenDriver(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := blob.NewBucket(drv)
	defer b.Close()
	write(t, b, "kept", "x")
	w, err := b.NewWriter(t.Context(), "crashed", &blob.WriterOptions{ContentType: "x/y"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := diskblob.Sweep(drv, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if files := filesIn(t, dir); len(files) != 2 {
		t.Errorf("a recent temporary file was swept: %q", files)
	}
	if err := diskblob.Sweep(drv, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if files := filesIn(t, dir); !slices.Equal(files, []string{"kept"}) {
		t.Errorf("after the sweep: %q", files)
	}
	if err := w.Close(); err == nil {
		t.Error("an object whose file was swept was reported as stored")
	}
}

// TestFoldersAreSyncedTogether: while one write of a folder is under way, all
// who ask meanwhile share the next one, and nobody returns before a write
// that began after he asked.
func TestFoldersAreSyncedTogether(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var writes int
	sync1 := diskblob.NewSyncer(func(string) error {
		mu.Lock()
		writes++
		n := writes
		mu.Unlock()
		if n == 1 {
			close(started)
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { _ = sync1("a") })
	<-started
	var asked sync.WaitGroup
	for range 20 {
		asked.Add(1)
		wg.Go(func() {
			asked.Done()
			if err := sync1("a"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if writes < 2 {
				t.Error("returned with the write that began before")
			}
		})
	}
	asked.Wait()
	if err := sync1("b"); err != nil { // another folder does not wait
		t.Error(err)
	}
	close(release)
	wg.Wait()
	if writes < 3 || writes > 22 {
		t.Errorf("%d writes", writes)
	}
	boom := errors.New("boom")
	if err := diskblob.NewSyncer(func(string) error { return boom })("a"); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}

// FuzzKey: different keys have different paths that stay inside, and a path
// leads back to its key.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"a/b", "..", "/", "%", "%25", ".tmp", "a\x00b", "é", "%2e", "a//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path := diskblob.Encode(key)
		if !utf8.ValidString(key) {
			return // package blob lets none through
		}
		if !filepath.IsLocal(path) || filepath.Clean(path) != path || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("%q has path %q", key, path)
		}
		var segs []string
		for name := range strings.SplitSeq(path, "/") {
			seg, ok := diskblob.DecodeSegment(name)
			if !ok || strings.HasPrefix(name, ".") {
				t.Fatalf("%q has segment %q", key, name)
			}
			segs = append(segs, seg)
		}
		if back := strings.Join(segs, "/"); back != key {
			t.Errorf("%q came back as %q", key, back)
		}
		if seg, ok := diskblob.DecodeSegment(key); ok && diskblob.Encode(seg) != key && !strings.Contains(seg, "/") {
			t.Errorf("name %q decodes to %q", key, seg)
		}
	})
}
