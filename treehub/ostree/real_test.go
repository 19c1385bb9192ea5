package ostree_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sealift/treehub/ostree"
)

// TestObjectsOfOstree takes every object that the real ostree command writes
// into an archive repository: each must pass, and each parsed part must encode
// to the very same bytes.
func TestObjectsOfOstree(t *testing.T) {
	repo := realRepo(t)
	counts := map[ostree.ObjectType]int{}
	for name, data := range objects(t, repo) {
		counts[name.Type]++
		res, err := ostree.VerifyReader(name, int64(len(data)), bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if res.Name != name || res.Size != int64(len(data)) {
			t.Errorf("%s: verified as %s of %d bytes", name, res.Name, res.Size)
		}
		if again, part := reencode(t, name.Type, data); !bytes.Equal(again, part) {
			t.Errorf("%s: encodes to\n%x\nwas\n%x", name, again, part)
		}
		// Many encodings of a run are valid, so runs are left out; one file in 100 will do.
		if len(data) <= 600 && res.ContentSize < 1000 && (name.Type != ostree.TypeFile || name.Checksum[0] < 2) {
			damage(t, name, data)
		}
	}
	want := map[ostree.ObjectType]int{
		ostree.TypeFile: 2500, ostree.TypeDirTree: 5, ostree.TypeDirMeta: 4, ostree.TypeCommit: 3,
		ostree.TypeCommitMeta: 1, ostree.TypeTombstone: 1,
	}
	for kind, n := range want {
		if counts[kind] < n {
			t.Errorf("only %d objects of type %s, want %d or more", counts[kind], kind, n)
		}
	}
}

// realRepo has commits made by the ostree command.
func realRepo(t *testing.T) string {
	dir := t.TempDir()
	repo, tree := "--repo="+filepath.Join(dir, "repo"), filepath.Join(dir, "tree")
	ostreeCLI(t, repo, "init", "--mode=archive", "--collection-id=org.example.Fleet")
	ostreeCLI(t, repo, "config", "set", "core.fsync", "false")
	ostreeCLI(t, repo, "config", "set", "core.tombstone-commits", "true")
	for _, name := range []string{"many", "empty", "größe/日本", "bin"} {
		check(t, os.MkdirAll(filepath.Join(tree, name), 0o755))
	}
	for i := range 2500 {
		file := filepath.Join(tree, "many", fmt.Sprintf("entry-%d", i))
		check(t, os.WriteFile(file, fmt.Appendf(nil, "content %d", i), 0o644))
	}
	check(t, os.WriteFile(filepath.Join(tree, "none"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(tree, "größe/日本/zeros"), make([]byte, 200<<10), 0o644))
	check(t, os.WriteFile(filepath.Join(tree, "bin/su"), []byte("set-uid"), 0o755))
	check(t, os.Chmod(filepath.Join(tree, "bin/su"), 0o4755|fs.ModeSetuid))
	check(t, os.Chmod(filepath.Join(tree, "bin"), 0o755|fs.ModeSticky))
	check(t, os.Link(filepath.Join(tree, "bin/su"), filepath.Join(tree, "bin/hard")))
	check(t, os.Symlink("bin/su", filepath.Join(tree, "link")))
	check(t, os.Symlink(strings.Repeat("long/", 60), filepath.Join(tree, "long")))
	for _, x := range []string{"user.b", "user.a"} {
		for _, on := range []string{"none", "bin", "bin/su"} {
			if err := syscall.Setxattr(filepath.Join(tree, on), x, []byte("value "+x), 0); err != nil {
				t.Logf("going on without extended attributes: %v", err)
			}
		}
	}
	ostreeCLI(t, repo, "commit", "-b", "main", "-s", "first", "--tree=dir="+tree)
	check(t, os.WriteFile(filepath.Join(tree, "new"), []byte("new"), 0o644))
	ostreeCLI(t, repo, "commit", "-b", "main", "-s", "second", "-m", "body", "--owner-uid=70000", "--owner-gid=5",
		"--add-metadata-string=version=2", "--add-metadata=a.number=uint64 7", "--add-metadata=a.list=[('x', <true>), ('y', <@mi nothing>)]",
		"--add-detached-metadata-string=sig=none", "--generate-sizes", "--tree=dir="+tree)
	ostreeCLI(t, repo, "commit", "--orphan", "--no-xattrs", "--tree=dir="+tree)
	gone := ostreeCLI(t, repo, "commit", "-b", "gone", "-s", "gone", "--tree=dir="+tree)
	ostreeCLI(t, repo, "refs", "--delete", "gone")
	ostreeCLI(t, repo, "prune", "--delete-commit="+gone)
	return filepath.Join(dir, "repo")
}

// objects reads all objects of a repository.
func objects(t testing.TB, repo string) map[ostree.ObjectName][]byte {
	t.Helper()
	all := map[ostree.ObjectName][]byte{}
	root := filepath.Join(repo, "objects")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		name, err := ostree.ParseObjectPath(filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		all[name], err = os.ReadFile(path)
		return err
	})
	check(t, err)
	return all
}

// reencode parses and encodes an object; of a file, its header.
func reencode(t testing.TB, kind ostree.ObjectType, data []byte) (again, part []byte) {
	t.Helper()
	var err error
	var v interface{ Encode() []byte }
	switch kind {
	case ostree.TypeCommit:
		v, err = ostree.ParseCommit(data)
	case ostree.TypeDirTree:
		v, err = ostree.ParseDirTree(data)
	case ostree.TypeDirMeta:
		v, err = ostree.ParseDirMeta(data)
	case ostree.TypeFile:
		data = data[8 : 8+binary.BigEndian.Uint32(data)]
		v, err = ostree.ParseFileHeader(data)
	default:
		v, err = ostree.ParseMetadata(data)
	}
	check(t, err)
	return v.Encode(), data
}

// damage changes an object in every small way; none of the results may pass.
func damage(t *testing.T, name ostree.ObjectName, data []byte) {
	t.Helper()
	hashed := name.Type != ostree.TypeCommitMeta && name.Type != ostree.TypeTombstone
	reject := func(what string, bad []byte) {
		_, err := ostree.VerifyReader(name, -1, bytes.NewReader(bad))
		var rule *ostree.RuleError
		if !errors.As(err, &rule) && (hashed || err != nil) {
			t.Errorf("%s, %s: %v", name, what, err)
		}
	}
	for n := range len(data) {
		reject(fmt.Sprintf("cut to %d", n), data[:n])
	}
	reject("with a byte more", append(bytes.Clone(data), 0))
	reject("with a byte more", append(bytes.Clone(data), 0xff))
	bits := 8 * len(data)
	if _, part := reencode(t, name.Type, data); name.Type == ostree.TypeFile && len(data) > 8+len(part) {
		bits -= 8 // unused bits after the end of the compressed content say nothing
	}
	for i := range bits {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		reject(fmt.Sprintf("bit %d flipped", i), bad)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
