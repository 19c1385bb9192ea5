package ostree

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	maxHeader  = 1 << 20  // bytes of a file's header; Linux allows far smaller ones
	maxContent = 64 << 30 // bytes of a file's content, uncompressed
)

// Result is what is known of an object that was verified.
type Result struct {
	Name ObjectName
	// Size counts the object's bytes, ContentSize those of a regular file's
	// content once uncompressed.
	Size, ContentSize int64
	// Edges are the objects that a commit (root dirtree and dirmeta, not the
	// parent) or a dirtree needs to be complete, each once.
	Edges []ObjectName
	// Commit is set for a commit.
	Commit *Commit
}

// VerifyReader reads r to its end and reports whether these are the bytes of
// the object called name. size is how many to expect, -1 if that is not known.
// Broken rules are *RuleError, and r is then not read further; an error of r
// itself is returned as it is. Memory is bounded: a file's content streams
// through, everything else has at most 10 MiB.
//
// To store while verifying, read through an io.TeeReader.
func VerifyReader(name ObjectName, size int64, r io.Reader) (Result, error) {
	in := &input{r: r}
	var res Result
	var err error
	if name.Type == TypeFile {
		res, err = verifyFile(name, in)
	} else {
		res, err = verifyMetadata(name, size, in)
	}
	if in.err != nil {
		return Result{}, in.err
	}
	if err != nil {
		return Result{}, err
	}
	if size >= 0 && size != in.n {
		return Result{}, broken("object_length_mismatch", "an object has %d bytes, not %d", in.n, size)
	}
	res.Name, res.Size = name, in.n
	return res, nil
}

// input counts what is read and keeps the first error that is not the end, so
// that a failing disk is never taken for a broken object.
type input struct {
	r   io.Reader
	n   int64
	err error
}

func (in *input) Read(p []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	n, err := in.r.Read(p)
	in.n += int64(n)
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

func verifyMetadata(name ObjectName, size int64, r io.Reader) (Result, error) {
	if !name.Type.valid() {
		return Result{}, broken("name", "an object has an unknown type")
	}
	var data []byte
	var err error
	if size <= maxMetadata {
		data, err = io.ReadAll(io.LimitReader(r, maxMetadata+1))
	}
	if err != nil {
		return Result{}, err
	}
	if size > maxMetadata || len(data) > maxMetadata {
		return Result{}, broken("object_too_large", "metadata has more than %d bytes", maxMetadata)
	}
	return verifyBytes(name, data)
}

// verifyBytes is VerifyReader for an object that is not a file.
func verifyBytes(name ObjectName, data []byte) (Result, error) {
	res := Result{Name: name, Size: int64(len(data))}
	var err error
	switch name.Type {
	case TypeCommitMeta:
		_, err = ParseMetadata(data)
		return res, err
	case TypeTombstone:
		return res, checkTombstone(name.Checksum, data)
	}
	if sha256.Sum256(data) != name.Checksum {
		return Result{}, broken("object_hash_mismatch", "the bytes of a %s have another checksum than its name", name.Type)
	}
	switch name.Type {
	case TypeCommit:
		if res.Commit, err = ParseCommit(data); err == nil {
			res.Edges = res.Commit.edges()
		}
	case TypeDirTree:
		var d *DirTree
		if d, err = ParseDirTree(data); err == nil {
			res.Edges = d.edges()
		}
	case TypeDirMeta:
		_, err = ParseDirMeta(data)
	}
	return res, err
}

// checkTombstone demands that a tombstone names the commit it is called after.
func checkTombstone(commit Checksum, data []byte) error {
	m, err := ParseMetadata(data)
	if err != nil {
		return err
	}
	for _, e := range m {
		if e.Key == "commit" && e.Type == "ay" && bytes.Equal(e.Value, packText(commit.String())) {
			return nil
		}
	}
	return broken("tombstone_commit", "a tombstone does not name its commit")
}

// inflater is what verifying a file needs; made once and used again, since a
// new flate reader costs more than most files.
type inflater struct {
	in   *bufio.Reader
	fl   io.ReadCloser // also a flate.Resetter
	sum  hash.Hash
	page [32 << 10]byte
}

var inflaters = sync.Pool{New: func() any {
	in := bufio.NewReaderSize(nil, 32<<10)
	return &inflater{in: in, fl: flate.NewReader(in), sum: sha256.New()}
}}

func verifyFile(name ObjectName, r io.Reader) (Result, error) {
	z := inflaters.Get().(*inflater)
	defer func() {
		z.in.Reset(nil)
		inflaters.Put(z)
	}()
	z.in.Reset(r)
	z.sum.Reset()
	h, err := readHeader(z.in)
	if err != nil {
		return Result{}, err
	}
	z.sum.Write(h.streamPrefix())
	if !h.IsSymlink() {
		if err := z.content(h.Size); err != nil {
			return Result{}, err
		}
	}
	if _, err := z.in.ReadByte(); err != io.EOF {
		if h.IsSymlink() {
			return Result{}, broken("filez_symlink_payload", "a symbolic link has content")
		}
		return Result{}, broken("filez_trailing_data", "bytes follow a file's content")
	}
	if Checksum(z.sum.Sum(nil)) != name.Checksum {
		return Result{}, broken("object_hash_mismatch", "the content of a file has another checksum than its name")
	}
	return Result{ContentSize: h.Size}, nil
}

// readHeader reads a file up to its content.
func readHeader(r io.Reader) (*FileHeader, error) {
	var frame [8]byte
	if _, err := io.ReadFull(r, frame[:]); err != nil {
		return nil, broken("filez_truncated", "a file ends in its header")
	}
	n := binary.BigEndian.Uint32(frame[:])
	if n == 0 || n > maxHeader {
		return nil, broken("filez_header", "a file's header claims %d bytes", n)
	}
	if !zero(frame[4:]) {
		return nil, broken("filez_padding", "a file's header is padded with other than zero")
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what arrives, not with what is claimed
	if err != nil || len(data) < int(n) {
		return nil, broken("filez_truncated", "a file ends in its header")
	}
	return ParseFileHeader(data)
}

// content inflates and hashes exactly size bytes, at most one more.
func (z *inflater) content(size int64) error {
	if err := z.fl.(flate.Resetter).Reset(z.in, nil); err != nil {
		return err
	}
	for total := int64(0); ; {
		n, err := z.fl.Read(z.page[:min(int64(len(z.page)), size-total+1)])
		z.sum.Write(z.page[:n])
		total += int64(n)
		switch {
		case total > size, err == io.EOF && total < size:
			return broken("filez_size_mismatch", "a file's content is not the %d bytes its header claims", size)
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return broken("filez_truncated", "a file's content ends early")
		case err != nil:
			return broken("filez_deflate", "a file's content is not valid deflate data")
		}
	}
}
