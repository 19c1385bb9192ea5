package ostree

import "strings"

var dirTreeType = builtinType("(a(say)a(sayay))")

// DirTree is a parsed dirtree object: what a folder holds. Encode gives back
// the bytes it was parsed from.
type DirTree struct {
	Files []FileEntry // sorted by name, bytewise
	Dirs  []DirEntry  // sorted by name, bytewise; no name is in both
}

// FileEntry is a regular file or a symbolic link of a folder.
type FileEntry struct {
	Name string
	File Checksum
}

// DirEntry is a folder of a folder.
type DirEntry struct {
	Name       string
	Tree, Meta Checksum
}

// ParseDirTree reads a dirtree object.
func ParseDirTree(data []byte) (*DirTree, error) {
	if err := dirTreeType.check(data); err != nil {
		return nil, err
	}
	parts, err := dirTreeType.fields(data, nil)
	if err != nil {
		return nil, err
	}
	d := new(DirTree)
	if d.Files, err = parseFiles(parts[0]); err != nil {
		return nil, err
	}
	if d.Dirs, err = parseDirs(parts[1]); err != nil {
		return nil, err
	}
	return d, d.checkNames()
}

func parseFiles(data []byte) (files []FileEntry, err error) {
	t := dirTreeType.sub[0]
	var room [2][]byte
	err = t.each(data, func(elem []byte) error {
		f, err := t.sub[0].fields(elem, room[:0])
		if err != nil {
			return err
		}
		e := FileEntry{Name: text(f[0])}
		e.File, err = checksumIn(f[1], "dirtree_checksum")
		files = append(files, e)
		return err
	})
	return files, err
}

func parseDirs(data []byte) (dirs []DirEntry, err error) {
	t := dirTreeType.sub[1]
	var room [3][]byte
	err = t.each(data, func(elem []byte) error {
		f, err := t.sub[0].fields(elem, room[:0])
		if err != nil {
			return err
		}
		e := DirEntry{Name: text(f[0])}
		if e.Tree, err = checksumIn(f[1], "dirtree_checksum"); err != nil {
			return err
		}
		e.Meta, err = checksumIn(f[2], "dirtree_checksum")
		dirs = append(dirs, e)
		return err
	})
	return dirs, err
}

// checkNames demands names a folder can have, each list sorted, nothing twice.
func (d *DirTree) checkNames() error {
	for i, f := range d.Files {
		if err := checkEntry(f.Name, i > 0, func() string { return d.Files[i-1].Name }); err != nil {
			return err
		}
	}
	next := 0
	for i, dir := range d.Dirs {
		if err := checkEntry(dir.Name, i > 0, func() string { return d.Dirs[i-1].Name }); err != nil {
			return err
		}
		for next < len(d.Files) && d.Files[next].Name < dir.Name {
			next++
		}
		if next < len(d.Files) && d.Files[next].Name == dir.Name {
			return broken("dirtree_duplicate", "a folder holds %.80q both as file and as folder", dir.Name)
		}
	}
	return nil
}

func checkEntry(name string, follows bool, previous func() string) error {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return broken("dirtree_name", "a folder cannot hold the name %.80q", name)
	}
	switch {
	case follows && previous() == name:
		return broken("dirtree_duplicate", "a folder holds %.80q twice", name)
	case follows && previous() > name:
		return broken("dirtree_order", "the name %.80q is out of order", name)
	}
	return nil
}

// Encode returns the folder's object bytes; the SHA-256 of these is its name.
func (d *DirTree) Encode() []byte {
	files, dirs := dirTreeType.sub[0], dirTreeType.sub[1]
	var f, s [][]byte
	for _, e := range d.Files {
		f = append(f, files.sub[0].pack(packText(e.Name), e.File[:]))
	}
	for _, e := range d.Dirs {
		s = append(s, dirs.sub[0].pack(packText(e.Name), e.Tree[:], e.Meta[:]))
	}
	return dirTreeType.pack(files.pack(f...), dirs.pack(s...))
}

// edges are the objects the folder needs to be complete, each once.
func (d *DirTree) edges() []ObjectName {
	seen := make(map[ObjectName]bool, len(d.Files)+2*len(d.Dirs))
	var list []ObjectName
	add := func(n ObjectName) {
		if !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	for _, e := range d.Files {
		add(ObjectName{e.File, TypeFile})
	}
	for _, e := range d.Dirs {
		add(ObjectName{e.Tree, TypeDirTree})
		add(ObjectName{e.Meta, TypeDirMeta})
	}
	return list
}
