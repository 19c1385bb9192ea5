package ostree_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/flate"

	"sealift/fixtures"
	"sealift/treehub/ostree"
)

// aFile commits one file and returns its object, header and compressed content.
func aFile(t testing.TB, file *fstest.MapFile) (ostree.ObjectName, *ostree.FileHeader, []byte) {
	t.Helper()
	d := newRepo(t)
	mustCommit(t, d, fstest.MapFS{"file": file}, ostree.CommitOptions{})
	for name, data := range objects(t, d.Path()) {
		if name.Type == ostree.TypeFile {
			n := 8 + binary.BigEndian.Uint32(data)
			h, err := ostree.ParseFileHeader(data[8:n])
			check(t, err)
			return name, h, data[n:]
		}
	}
	t.Fatal("no file was written")
	return ostree.ObjectName{}, nil, nil
}

func frame(header []byte, content ...byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(header)))
	return append(append(append(out, 0, 0, 0, 0), header...), content...)
}

func TestFileRules(t *testing.T) {
	name, head, content := aFile(t, &fstest.MapFile{Mode: 0o644, Data: []byte("sixteen bytes...")})
	link, linkHead, _ := aFile(t, &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("target")})
	with := func(h *ostree.FileHeader, change func(*ostree.FileHeader)) []byte {
		other := *h
		change(&other)
		return other.Encode()
	}
	rdev := head.Encode()
	rdev[20] = 1
	padded := frame(head.Encode(), content...)
	padded[7] = 1
	for _, v := range []struct {
		what, rule string
		name       ostree.ObjectName
		data       []byte
	}{
		{"as it is", "", name, frame(head.Encode(), content...)},
		{"a link as it is", "", link, frame(linkHead.Encode())},
		{"size 5 more", "filez_size_mismatch", name, frame(with(head, func(h *ostree.FileHeader) { h.Size += 5 }), content...)},
		{"size 5 less", "filez_size_mismatch", name, frame(with(head, func(h *ostree.FileHeader) { h.Size -= 5 }), content...)},
		{"size 0", "filez_size_mismatch", name, frame(with(head, func(h *ostree.FileHeader) { h.Size = 0 }), content...)},
		{"absurd size", "filez_too_large", name, frame(with(head, func(h *ostree.FileHeader) { h.Size = 1 << 60 }), content...)},
		{"negative size", "filez_too_large", name, frame(with(head, func(h *ostree.FileHeader) { h.Size = -1 }), content...)},
		{"a byte more", "filez_trailing_data", name, frame(head.Encode(), append(content, 0)...)},
		{"a byte less", "filez_truncated", name, frame(head.Encode(), content[:len(content)-1]...)},
		{"no content", "filez_truncated", name, frame(head.Encode())},
		{"half a header", "filez_truncated", name, frame(head.Encode())[:20]},
		{"nothing", "filez_truncated", name, nil},
		{"no header", "filez_header", name, frame(nil, content...)},
		{"huge header", "filez_header", name, append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0}, content...)},
		{"padding", "filez_padding", name, padded},
		{"a device", "filez_rdev", name, frame(rdev, content...)},
		{"not deflate", "filez_deflate", name, frame(head.Encode(), 0xff, 0xff)},
		{"a zlib wrapper", "filez_deflate", name, frame(head.Encode(), append([]byte{0x78, 0x9c}, content...)...)},
		{"other name", "object_hash_mismatch", link, frame(head.Encode(), content...)},
		{"other owner", "object_hash_mismatch", name, frame(with(head, func(h *ostree.FileHeader) { h.UID = 1 }), content...)},
		{"a folder", "filez_mode", name, frame(with(head, func(h *ostree.FileHeader) { h.Mode = 0o40755 }), content...)},
		{"unknown bits", "filez_mode", name, frame(with(head, func(h *ostree.FileHeader) { h.Mode |= 1 << 20 }), content...)},
		{"file with target", "filez_symlink", name, frame(with(head, func(h *ostree.FileHeader) { h.Target = "x" }), content...)},
		{"link without target", "filez_symlink", link, frame(with(linkHead, func(h *ostree.FileHeader) { h.Target = "" }))},
		{"link with size", "filez_size_mismatch", link, frame(with(linkHead, func(h *ostree.FileHeader) { h.Size = 6 }))},
		{"link with content", "filez_symlink_payload", link, frame(linkHead.Encode(), 3, 0)},
		{"attribute twice", "xattr_duplicate", name, frame(with(head, func(h *ostree.FileHeader) {
			h.XAttrs = []ostree.XAttr{{Name: "user.a"}, {Name: "user.a"}}
		}), content...)},
		{"attribute without name", "xattr_name", name, frame(with(head, func(h *ostree.FileHeader) {
			h.XAttrs = []ostree.XAttr{{Name: ""}}
		}), content...)},
	} {
		_, err := ostree.VerifyReader(v.name, -1, bytes.NewReader(v.data))
		if got := ruleOf(t, err); got != v.rule {
			t.Errorf("%s: rule %q (%v), want %q", v.what, got, err, v.rule)
		}
	}
	data := frame(head.Encode(), content...)
	_, err := ostree.VerifyReader(name, int64(len(data)+1), bytes.NewReader(data))
	if ruleOf(t, err) != "object_length_mismatch" {
		t.Errorf("other length than announced: %v", err)
	}
}

func TestMetadataRules(t *testing.T) {
	sum := ostree.Checksum{1}
	file := func(names ...string) (list []ostree.FileEntry) {
		for _, n := range names {
			list = append(list, ostree.FileEntry{Name: n, File: sum})
		}
		return list
	}
	dir := func(names ...string) (list []ostree.DirEntry) {
		for _, n := range names {
			list = append(list, ostree.DirEntry{Name: n, Tree: sum, Meta: sum})
		}
		return list
	}
	tree := func(d ostree.DirTree) []byte { return d.Encode() }
	commit := func(change func(*ostree.Commit)) []byte {
		c := &ostree.Commit{Root: sum, RootMeta: sum, Timestamp: time.Unix(0, 0)}
		change(c)
		return c.Encode()
	}
	long := make([]byte, 10<<20+1)
	for _, v := range []struct {
		what, rule string
		kind       ostree.ObjectType
		data       []byte
	}{
		{"a tree", "", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("a", "c"), Dirs: dir("b", "d")})},
		{"empty tree", "", ostree.TypeDirTree, []byte{0}},
		{"no bytes", "gvariant_not_normal", ostree.TypeDirTree, nil},
		{"empty name", "dirtree_name", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("")})},
		{"dot", "dirtree_name", ostree.TypeDirTree, tree(ostree.DirTree{Dirs: dir(".")})},
		{"dot dot", "dirtree_name", ostree.TypeDirTree, tree(ostree.DirTree{Dirs: dir("..")})},
		{"slash", "dirtree_name", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("a/b")})},
		{"not UTF-8", "gvariant_not_normal", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("\xff")})},
		{"unsorted", "dirtree_order", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("b", "a")})},
		{"unsorted folders", "dirtree_order", ostree.TypeDirTree, tree(ostree.DirTree{Dirs: dir("b", "a")})},
		{"twice", "dirtree_duplicate", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("a", "a")})},
		{"file and folder", "dirtree_duplicate", ostree.TypeDirTree, tree(ostree.DirTree{Files: file("a", "b"), Dirs: dir("0", "b")})},
		{"short checksum", "dirtree_checksum", ostree.TypeDirTree, []byte("a\x00xy\x02\x05\x06")},
		{"a folder", "", ostree.TypeDirMeta, (&ostree.DirMeta{Mode: 0o41777}).Encode()},
		{"a file", "dirmeta_mode", ostree.TypeDirMeta, (&ostree.DirMeta{Mode: 0o100644}).Encode()},
		{"unknown bits", "dirmeta_mode", ostree.TypeDirMeta, (&ostree.DirMeta{Mode: 0o240755}).Encode()},
		{"zero in a name", "xattr_name", ostree.TypeDirMeta, (&ostree.DirMeta{Mode: 0o40755, XAttrs: []ostree.XAttr{{Name: "a\x00b"}}}).Encode()},
		{"a commit", "", ostree.TypeCommit, commit(func(*ostree.Commit) {})},
		{"year 10000", "commit_timestamp", ostree.TypeCommit, commit(func(c *ostree.Commit) { c.Timestamp = time.Unix(253402300800, 0) })},
		{"empty key", "metadata_key", ostree.TypeCommit, commit(func(c *ostree.Commit) {
			c.Metadata = ostree.Metadata{{Key: "", Type: "y", Value: []byte{1}}}
		})},
		{"unknown type", "gvariant_type", ostree.TypeCommit, commit(func(c *ostree.Commit) {
			c.Metadata = ostree.Metadata{{Key: "k", Type: "?", Value: []byte{1}}}
		})},
		{"a tree", "gvariant_not_normal", ostree.TypeCommit, []byte{0}},
		{"detached", "", ostree.TypeCommitMeta, ostree.Metadata{{Key: "k", Type: "y", Value: []byte{1}}}.Encode()},
		{"nothing detached", "", ostree.TypeCommitMeta, nil},
		{"tombstone of nothing", "tombstone_commit", ostree.TypeTombstone, nil},
		{"too long", "object_too_large", ostree.TypeCommitMeta, long},
		{"unknown type", "name", "file", nil},
	} {
		name := ostree.ObjectName{Checksum: sha256.Sum256(v.data), Type: v.kind}
		res, err := ostree.VerifyReader(name, -1, bytes.NewReader(v.data))
		if got := ruleOf(t, err); got != v.rule {
			t.Errorf("%s %s: rule %q (%v), want %q", v.kind, v.what, got, err, v.rule)
		}
		if err == nil && v.kind == ostree.TypeDirTree && len(v.data) > 1 && len(res.Edges) != 3 {
			t.Errorf("a tree of the same children has edges %v", res.Edges)
		}
	}
}

// A small file that claims little and inflates to much is given up at once.
func TestBombIsBounded(t *testing.T) {
	name, head, _ := aFile(t, &fstest.MapFile{Mode: 0o644, Data: []byte("sixteen bytes...")})
	var bomb bytes.Buffer
	bomb.Write(frame(head.Encode()))
	z, err := flate.NewWriter(&bomb, 1)
	check(t, err)
	for range 64 {
		_, err = z.Write(make([]byte, 1<<20))
		check(t, err)
	}
	check(t, z.Close())
	size := bomb.Len()
	_, err = ostree.VerifyReader(name, -1, &bomb)
	if ruleOf(t, err) != "filez_size_mismatch" {
		t.Errorf("a bomb: %v", err)
	}
	if read := size - bomb.Len(); read > 64<<10 {
		t.Errorf("%d bytes of the bomb were read", read)
	}
}

// A failing reader is no broken object.
func TestReaderErrorIsKept(t *testing.T) {
	name, head, content := aFile(t, &fstest.MapFile{Mode: 0o644, Data: []byte("sixteen bytes...")})
	data := frame(head.Encode(), content...)
	broken := errors.New("the disk is broken")
	for _, n := range []int{0, 4, 30, len(data) - 1, len(data)} {
		for _, kind := range []ostree.ObjectType{ostree.TypeFile, ostree.TypeCommit} {
			r := io.MultiReader(bytes.NewReader(data[:n]), failing{broken})
			if _, err := ostree.VerifyReader(ostree.ObjectName{Checksum: name.Checksum, Type: kind}, -1, r); err != broken {
				t.Errorf("after %d bytes of a %s: %v", n, kind, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestCommitResult(t *testing.T) {
	d := newRepo(t)
	first := mustCommit(t, d, someTree(), ostree.CommitOptions{})
	sum := mustCommit(t, d, someTree(), ostree.CommitOptions{
		Ref: "main", Subject: "s", Body: "b", Version: "v1", Parent: first, Timestamp: time.Unix(1700000000, 999),
	})
	r, size, err := d.Object(context.Background(), ostree.ObjectName{Checksum: sum, Type: ostree.TypeCommit})
	check(t, err)
	defer r.Close()
	res, err := ostree.VerifyReader(ostree.ObjectName{Checksum: sum, Type: ostree.TypeCommit}, size, r)
	check(t, err)
	c := res.Commit
	if c.Parent != first || c.Subject != "s" || c.Body != "b" || !c.Timestamp.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("commit reads as %+v", c)
	}
	if v, ok := c.Metadata.Text("version"); !ok || v != "v1" {
		t.Errorf("version is %q, %v", v, ok)
	}
	if refs, ok := c.Metadata.Texts("ostree.ref-binding"); !ok || strings.Join(refs, " ") != "main" {
		t.Errorf("ref binding is %q, %v", refs, ok)
	}
	if len(res.Edges) != 2 || res.Edges[0].Type != ostree.TypeDirTree || res.Edges[1].Type != ostree.TypeDirMeta {
		t.Errorf("edges are %v", res.Edges)
	}
}

func FuzzObject(f *testing.F) {
	kinds := []ostree.ObjectType{ostree.TypeCommit, ostree.TypeDirTree, ostree.TypeDirMeta, ostree.TypeCommitMeta, ostree.TypeFile}
	d := newRepo(f)
	mustCommit(f, d, someTree(), ostree.CommitOptions{Ref: "main", Timestamp: time.Unix(1, 0)})
	for name, data := range objects(f, d.Path()) {
		for i, kind := range kinds {
			if kind == name.Type && len(data) < 1000 {
				f.Add(uint8(i), data)
			}
			if kind == name.Type && kind == ostree.TypeFile {
				f.Add(uint8(i), data[8:8+binary.BigEndian.Uint32(data)])
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		name := ostree.ObjectName{Checksum: sha256.Sum256(data), Type: kinds[int(kind)%len(kinds)]}
		if name.Type == ostree.TypeFile {
			if h, err := ostree.ParseFileHeader(data); err == nil && !bytes.Equal(h.Encode(), data) {
				t.Errorf("header %x encodes to %x", data, h.Encode())
			}
		}
		var err error
		cost := fixtures.Allocated(func() { _, err = ostree.VerifyReader(name, -1, bytes.NewReader(data)) })
		if cost > uint64(4<<20+200*len(data)) {
			t.Errorf("%d bytes cost %d", len(data), cost)
		}
		if err != nil {
			ruleOf(t, err)
			return
		}
		if again, part := reencode(t, name.Type, data); !bytes.Equal(again, part) {
			t.Errorf("%s %x encodes to %x", name.Type, part, again)
		}
	})
}

func BenchmarkVerifyFile(b *testing.B) {
	words := make([]byte, 4<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		words[i] = "etaoinshrdlu"[random.IntN(12)]
	}
	for _, v := range []struct {
		name string
		size int
	}{{"4KiB", 4 << 10}, {"4MiB", 4 << 20}} {
		name, head, content := aFile(b, &fstest.MapFile{Mode: 0o644, Data: words[:v.size]})
		data := frame(head.Encode(), content...)
		b.Run(v.name, func(b *testing.B) {
			b.SetBytes(int64(v.size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ostree.VerifyReader(name, -1, bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
