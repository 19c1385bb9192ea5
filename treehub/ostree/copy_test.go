package ostree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"sealift/treehub/ostree"
)

// watched is a repository that notes what is asked of it, and complains when an
// object comes before its children or twice.
type watched struct {
	*ostree.Dir
	t     *testing.T
	mu    sync.Mutex
	asked []string
	put   []string
	fail  map[ostree.ObjectName]error
}

func (w *watched) Has(ctx context.Context, name ostree.ObjectName) (bool, error) {
	w.mu.Lock()
	w.asked = append(w.asked, name.String())
	w.mu.Unlock()
	return w.Dir.Has(ctx, name)
}

func (w *watched) Put(ctx context.Context, name ostree.ObjectName, size int64, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("the sink could not read: %w", err)
	}
	if size >= 0 && size != int64(len(data)) {
		w.t.Errorf("%s: %d bytes announced, %d sent", name, size, len(data))
	}
	if err := w.fail[name]; err != nil {
		return err
	}
	res, err := ostree.VerifyReader(name, -1, bytes.NewReader(data))
	if err == nil {
		for _, child := range res.Edges {
			if has, err := w.Dir.Has(ctx, child); !has || err != nil {
				w.t.Errorf("%s came before %s (%v)", name, child, err)
			}
		}
	}
	w.mu.Lock()
	w.put = append(w.put, name.String())
	w.mu.Unlock()
	return w.Dir.Put(ctx, name, size, bytes.NewReader(data))
}

func newWatched(t *testing.T) *watched { return &watched{Dir: newRepo(t), t: t} }

// web is a repository read over HTTP: its objects cannot be read twice.
type web struct {
	url string
	ostree.Source
}

func newWeb(t *testing.T, d *ostree.Dir) *web {
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(d.Path(), "objects"))))
	t.Cleanup(s.Close)
	return &web{url: s.URL, Source: d}
}

func (w *web) Object(ctx context.Context, name ostree.ObjectName) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/"+name.Path(), nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if res.StatusCode == http.StatusNotFound {
		res.Body.Close()
		return nil, 0, fmt.Errorf("getting %s: %w", name, ostree.ErrNotFound)
	}
	return res.Body, -1, nil
}

func TestCopyPushAndPull(t *testing.T) {
	ctx := context.Background()
	src := newRepo(t)
	commit := mustCommit(t, src, someTree(), ostree.CommitOptions{Ref: "main", Subject: "s"})
	meta := ostree.ObjectName{Checksum: commit, Type: ostree.TypeCommitMeta}
	data := ostree.Metadata{{Key: "k", Type: "y", Value: []byte{1}}}.Encode()
	check(t, src.Put(ctx, meta, int64(len(data)), bytes.NewReader(data)))
	all := objects(t, src.Path())

	var last ostree.Stats
	sink := newWatched(t)
	stats, err := ostree.Copy(ctx, src, sink, commit, ostree.CopyOptions{Jobs: 4, Progress: func(s ostree.Stats) { last = s }})
	check(t, err)
	n, size := len(all), int64(0)
	for _, data := range all {
		size += int64(len(data))
	}
	want := ostree.Stats{Queried: n, Missing: n, Uploaded: n, Bytes: size, Total: n}
	if stats != want || last != want {
		t.Errorf("push: %+v, last progress %+v, want %+v", stats, last, want)
	}
	once(t, sink.asked)
	once(t, sink.put)
	if sink.put[n-1] != commit.String()+".commit" {
		t.Errorf("the last object is %s", sink.put[n-1])
	}

	pulled := newRepo(t)
	stats, err = ostree.Copy(ctx, newWeb(t, sink.Dir), pulled, commit, ostree.CopyOptions{Jobs: 8})
	if err != nil || stats != want {
		t.Errorf("pull: %+v, %v", stats, err)
	}
	check(t, pulled.SetRef(ctx, "main", commit))
	ostreeCLI(t, "--repo="+pulled.Path(), "fsck", "--verify-bindings")

	stats, err = ostree.Copy(ctx, src, sink, commit, ostree.CopyOptions{})
	if want := (ostree.Stats{Queried: 1, Total: 1}); err != nil || stats != want {
		t.Errorf("pushed again: %+v, %v", stats, err)
	}
	stats, err = ostree.Copy(ctx, src, sink, commit, ostree.CopyOptions{WalkTree: true})
	if want := (ostree.Stats{Queried: n, Total: n}); err != nil || stats != want {
		t.Errorf("walked again: %+v, %v", stats, err)
	}
}

func once(t *testing.T, names []string) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) != len(names) {
		t.Errorf("something is there twice: %q", names)
	}
}

func TestCopyOnlyTheDifference(t *testing.T) {
	ctx := context.Background()
	src, sink := newRepo(t), newWatched(t)
	first := mustCommit(t, src, someTree(), ostree.CommitOptions{})
	_, err := ostree.Copy(ctx, src, sink, first, ostree.CopyOptions{})
	check(t, err)
	tree := someTree()
	tree["etc/empty"].Data = []byte("no more")
	second := mustCommit(t, src, tree, ostree.CommitOptions{Parent: first})

	stats, err := ostree.Copy(ctx, src, sink, second, ostree.CopyOptions{DryRun: true})
	if err != nil || stats.Missing != 4 || stats.Uploaded != 0 {
		t.Errorf("dry run: %+v, %v", stats, err)
	}
	if has, _ := sink.Dir.Has(ctx, ostree.ObjectName{Checksum: second, Type: ostree.TypeCommit}); has {
		t.Error("a dry run stored the commit")
	}
	stats, err = ostree.Copy(ctx, src, sink, second, ostree.CopyOptions{})
	if err != nil || stats.Uploaded != 4 {
		t.Errorf("second push: %+v, %v", stats, err)
	}
	// A hole below something the sink has is found only by walking the tree.
	hole := fileBelow(t, src, 0)
	check(t, os.Remove(filepath.Join(sink.Path(), "objects", hole.Path())))
	if stats, err = ostree.Copy(ctx, src, sink, second, ostree.CopyOptions{}); err != nil || stats.Uploaded != 0 {
		t.Errorf("trusting: %+v, %v", stats, err)
	}
	if stats, err = ostree.Copy(ctx, src, sink, second, ostree.CopyOptions{WalkTree: true}); err != nil || stats.Uploaded != 1 {
		t.Errorf("walking: %+v, %v", stats, err)
	}
}

// fileBelow returns the name of the largest (0) or another file of a repository.
func fileBelow(t *testing.T, d *ostree.Dir, i int) ostree.ObjectName {
	t.Helper()
	var files []ostree.ObjectName
	all := objects(t, d.Path())
	for name := range all {
		if name.Type == ostree.TypeFile {
			files = append(files, name)
		}
	}
	slices.SortFunc(files, func(a, b ostree.ObjectName) int { return len(all[b]) - len(all[a]) })
	return files[i]
}

func TestCopyNeverStoresBrokenObjects(t *testing.T) {
	ctx := context.Background()
	for kind, seekable := range map[string]bool{"folder": true, "web": false} {
		for i := range 3 {
			src := newRepo(t)
			commit := mustCommit(t, src, someTree(), ostree.CommitOptions{})
			bad := fileBelow(t, src, i)
			path := filepath.Join(src.Path(), "objects", bad.Path())
			data, err := os.ReadFile(path)
			check(t, err)
			data[len(data)-2] ^= 1
			check(t, os.WriteFile(path, data, 0o644))
			var from ostree.Source = src
			if !seekable {
				from = newWeb(t, src)
			}
			sink := newWatched(t)
			_, err = ostree.Copy(ctx, from, sink, commit, ostree.CopyOptions{})
			if ruleOf(t, err) == "" {
				t.Errorf("%s: a broken object passed", kind)
			}
			for _, name := range []ostree.ObjectName{bad, {Checksum: commit, Type: ostree.TypeCommit}} {
				if slices.Contains(sink.put, name.String()) {
					t.Errorf("%s: %s was put", kind, name)
				}
			}
			_, err = ostree.Copy(ctx, from, sink, commit, ostree.CopyOptions{SkipVerify: true})
			if ruleOf(t, err) == "" { // of the sink this time
				t.Errorf("%s: the sink took a broken object", kind)
			}
		}
	}
}

func TestCopyEndsWithTheFirstError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	src := newRepo(t)
	commit := mustCommit(t, src, someTree(), ostree.CommitOptions{})
	refused := errors.New("refused")
	sink := newWatched(t)
	sink.fail = map[ostree.ObjectName]error{fileBelow(t, src, 1): refused}
	if _, err := ostree.Copy(ctx, src, sink, commit, ostree.CopyOptions{Jobs: 3}); !errors.Is(err, refused) {
		t.Errorf("a refusing sink: %v", err)
	}
	if _, err := ostree.Copy(ctx, src, sink, ostree.Checksum{1}, ostree.CopyOptions{}); !errors.Is(err, ostree.ErrNotFound) {
		t.Errorf("no such commit: %v", err)
	}
	check(t, os.Remove(filepath.Join(src.Path(), "objects", fileBelow(t, src, 2).Path())))
	// Into an empty repository: the other one may have got the file already.
	if _, err := ostree.Copy(ctx, src, newRepo(t), commit, ostree.CopyOptions{}); !errors.Is(err, ostree.ErrNotFound) {
		t.Errorf("a source with a hole: %v", err)
	}
	cancel()
	if _, err := ostree.Copy(ctx, src, newRepo(t), commit, ostree.CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What an interrupted ostree pull leaves is completed, not trusted.
func TestCopyCompletesAPartialPull(t *testing.T) {
	ctx := context.Background()
	src, dst := newRepo(t), newRepo(t)
	commit := mustCommit(t, src, someTree(), ostree.CommitOptions{Ref: "main"})
	ostreeCLI(t, "--repo="+dst.Path(), "remote", "add", "--no-gpg-verify", "src", "file://"+src.Path())
	ostreeCLI(t, "--repo="+dst.Path(), "pull", "--subpath=/etc", "src", "main")
	if has, err := dst.Has(ctx, ostree.ObjectName{Checksum: commit, Type: ostree.TypeCommit}); has || err != nil {
		t.Errorf("a partial commit counts: %v, %v", has, err)
	}
	_, err := ostree.Copy(ctx, src, dst, commit, ostree.CopyOptions{})
	check(t, err)
	check(t, dst.SetRef(ctx, "main", commit))
	ostreeCLI(t, "--repo="+dst.Path(), "fsck")
	out := filepath.Join(t.TempDir(), "out")
	ostreeCLI(t, "--repo="+dst.Path(), "checkout", "-U", "main", out)
	compareTrees(t, os.DirFS(out), someTree())
}
