package ostree

import (
	"bytes"
	"encoding/binary"
)

var (
	dirMetaType = builtinType("(uuua(ayay))")
	// A file's header as it lies in an archive repository, and as it is hashed.
	archiveHeaderType = builtinType("(tuuuusa(ayay))")
	streamHeaderType  = builtinType("(uuuusa(ayay))")
)

// The file types and permission bits of a mode, as Linux has them.
const (
	modeType    = 0o170000
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
	modePerm    = 0o007777
)

// XAttr is an extended attribute.
type XAttr struct {
	Name  string // without the zero byte that is stored after it
	Value []byte
}

// DirMeta is a parsed dirmeta object: owner, mode and attributes of a folder.
// Encode gives back the bytes it was parsed from.
type DirMeta struct {
	UID, GID uint32
	Mode     uint32 // type and permission bits, as in stat(2)
	XAttrs   []XAttr
}

// ParseDirMeta reads a dirmeta object. The result refers to data.
func ParseDirMeta(data []byte) (*DirMeta, error) {
	if err := dirMetaType.check(data); err != nil {
		return nil, err
	}
	f, err := dirMetaType.fields(data, nil)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	d := &DirMeta{UID: be.Uint32(f[0]), GID: be.Uint32(f[1]), Mode: be.Uint32(f[2])}
	if d.Mode&modeType != modeDir || d.Mode&^(modeType|modePerm) != 0 {
		return nil, broken("dirmeta_mode", "mode %#o is not a folder's", d.Mode)
	}
	d.XAttrs, err = parseXAttrs(f[3])
	return d, err
}

// Encode returns the object bytes; the SHA-256 of these is the object's name.
func (d *DirMeta) Encode() []byte {
	return dirMetaType.pack(packBE(d.UID), packBE(d.GID), packBE(d.Mode), packXAttrs(d.XAttrs))
}

// parseXAttrs reads a checked a(ayay). Its order is the writer's: libostree
// appends the SELinux label after the sorted rest.
func parseXAttrs(data []byte) (list []XAttr, err error) {
	t := dirMetaType.sub[3]
	seen := map[string]bool{}
	err = t.each(data, func(elem []byte) error {
		f, err := t.sub[0].fields(elem, nil)
		if err != nil {
			return err
		}
		n := len(f[0]) - 1
		if n < 1 || bytes.IndexByte(f[0], 0) != n {
			return broken("xattr_name", "an attribute's name is empty or not ended by its only zero byte")
		}
		name := string(f[0][:n])
		if seen[name] {
			return broken("xattr_duplicate", "the attribute %.80q is there twice", name)
		}
		seen[name] = true
		list = append(list, XAttr{Name: name, Value: f[1]})
		return nil
	})
	return list, err
}

func packXAttrs(list []XAttr) []byte {
	t := dirMetaType.sub[3]
	var elems [][]byte
	for _, x := range list {
		elems = append(elems, t.sub[0].pack(packText(x.Name), x.Value))
	}
	return t.pack(elems...)
}

// FileHeader is what precedes the content of a file in an archive repository.
type FileHeader struct {
	Size     int64 // of the content, uncompressed; 0 for a symbolic link
	UID, GID uint32
	Mode     uint32 // type and permission bits, as in stat(2)
	Target   string // of a symbolic link
	XAttrs   []XAttr
}

// ParseFileHeader reads the header of a file, without the 8 bytes before it.
// The result refers to data.
func ParseFileHeader(data []byte) (*FileHeader, error) {
	if err := archiveHeaderType.check(data); err != nil {
		return nil, err
	}
	f, err := archiveHeaderType.fields(data, nil)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	size := be.Uint64(f[0])
	if size > maxContent {
		return nil, broken("filez_too_large", "a file's content claims more than %d bytes", int64(maxContent))
	}
	h := &FileHeader{
		Size: int64(size), UID: be.Uint32(f[1]), GID: be.Uint32(f[2]), Mode: be.Uint32(f[3]), Target: text(f[5]),
	}
	if be.Uint32(f[4]) != 0 {
		return nil, broken("filez_rdev", "a file names a device")
	}
	if h.XAttrs, err = parseXAttrs(f[6]); err != nil {
		return nil, err
	}
	return h, h.checkMode()
}

func (h *FileHeader) checkMode() error {
	if h.Mode&^(modeType|modePerm) != 0 {
		return broken("filez_mode", "mode %#o has unknown bits", h.Mode)
	}
	switch h.Mode & modeType {
	case modeRegular:
		if h.Target != "" {
			return broken("filez_symlink", "a regular file has a link target")
		}
	case modeSymlink:
		if h.Target == "" {
			return broken("filez_symlink", "a symbolic link has no target")
		}
		if h.Size != 0 {
			return broken("filez_size_mismatch", "a symbolic link has a size of %d", h.Size)
		}
	default:
		return broken("filez_mode", "mode %#o is neither a regular file's nor a symbolic link's", h.Mode)
	}
	return nil
}

// IsSymlink reports whether the file is a symbolic link.
func (h *FileHeader) IsSymlink() bool { return h.Mode&modeType == modeSymlink }

// Encode returns the header as it lies in an archive repository, without the 8
// bytes before it.
func (h *FileHeader) Encode() []byte {
	return archiveHeaderType.pack(binary.BigEndian.AppendUint64(nil, uint64(h.Size)), packBE(h.UID), packBE(h.GID),
		packBE(h.Mode), packBE(0), packText(h.Target), packXAttrs(h.XAttrs))
}

// streamPrefix is what is hashed before the content: the header without size.
func (h *FileHeader) streamPrefix() []byte {
	return framed(streamHeaderType.pack(packBE(h.UID), packBE(h.GID), packBE(h.Mode), packBE(0),
		packText(h.Target), packXAttrs(h.XAttrs)))
}

// framed puts the header's length and four zero bytes before it.
func framed(header []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(header)))
	return append(append(out, 0, 0, 0, 0), header...)
}
